"""Passwords: whatever a URL looks like, whatever a driver says of it."""

import pytest

from edgesearch.config.passwords import shown, without_passwords

SECRETS = {
    "postgresql+psycopg://me:s3cret@host/db": "postgresql+psycopg://me:***@host/db",
    "postgresql+psycopg://me:s3cret@host:5432/db": "postgresql+psycopg://me:***@host:5432/db",
    "postgresql://me:s3cret@[::1]:5432/db": "postgresql://me:***@[::1]:5432/db",
    "postgresql://me:%733cret@host/db": "postgresql://me:***@host/db",
    "mysql+pymysql://me:s3cret@host/db?charset=utf8": "mysql+pymysql://me:***@host/db?***",
    "postgresql://host/db?user=me&password=s3cret": "postgresql://host/db?***",
    "postgresql://host/db?PASSWORD=s3cret": "postgresql://host/db?***",
    "postgresql://host/db?passwd=s3cret": "postgresql://host/db?***",
    "postgresql://host/db?sslpassword=s3cret&sslmode=require": "postgresql://host/db?***",
    "postgresql://host/db?pass%77ord=s3cret": "postgresql://host/db?***",
    "postgresql://host/db?s3cret": "postgresql://host/db?***",
    "postgresql:me:s3cret@host": "postgresql:***",
    "postgresql:/me:s3cret@host/db": "postgresql:***",
    "postgresql:///me:s3cret@host/db": "postgresql:***",
    "postgresql//me:s3cret@host/db": "***",
    "me:s3cret@host/db": "***",
    ":s3cret@host": "***",
    "//me:s3cret@host/db": "***",
    "postgresql://me:pa@s3cret@host/db": "postgresql:***",
    "postgresql://me:s3cret@x@host/db": "postgresql:***",
    "postgresql://me:pa/s3cret@host/db": "postgresql:***",
    "postgresql://me:pa:s3cret@host/db": "postgresql://me:***@host/db",
    "postgresql://me:pa?s3cret@host/db": "postgresql:***",
    "postgresql://me:pa#s3cret@host/db": "postgresql:***",
    "postgresql://me:pa s3cret@host/db": "postgresql:***",
    "postgresql://me:s3cret@host:port/db": "postgresql:***",
    "postgresql://me:s3cret/db": "postgresql:***",
    "postgresql://me:s3cret": "postgresql:***",
    "postgresql://host:5432/db?password=x@s3cret": "postgresql://host:5432/db?***",
    "postgresql://:s3cret@host/db": "postgresql://:***@host/db",
    "postgresql://me:{s3cret}@host/db": "postgresql://me:***@host/db",
    "postgresql://me:s3cret@host/db\nx": "postgresql:***",
    "POSTGRESQL://me:s3cret@host/db": "***",
    "host=h user=me password=s3cret dbname=db": "***",
    "sqlite://me:s3cret@host/db": "sqlite://me:***@host/db",
    "sqlite:///file:x.db?key=s3cret": "sqlite:///file:x.db?***",
    "journal:x?s3cret": "journal:x?***",
    "https://me:s3cret@proxy": "https://me:***@proxy",
}


@pytest.mark.parametrize(("url", "expected"), SECRETS.items())
def test_a_password_is_hidden_in_every_form_of_url(url: str, expected: str) -> None:
    assert shown(url) == expected
    assert "cret" not in shown(url)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////home/me/outputs/search/x/study.db", "sqlite:///C:/x/study.db", "journal:/tmp/study.log",
        "postgresql+psycopg://me@host/db", "postgresql://host:5432/db", "study.db", "nonsense",
    ],
)  # fmt: skip
def test_what_holds_no_password_is_shown_as_it_is(url: str) -> None:
    assert shown(url) == url
    assert without_passwords(f"got {url} here") == f"got {url} here"


@pytest.mark.parametrize("url", SECRETS)
@pytest.mark.parametrize(
    "text",
    [
        "cannot open {url}: no such host",
        "Error parsing override 'search.storage={url}'",
        "connection to \"{url}\" failed",
        "(psycopg.OperationalError) connection failed [url={url}]",
        "ValueError: invalid literal for int() with base 10: 's3cret'",
        "missing \"=\" after \"s3cret\" in connection info string",
    ],
)  # fmt: skip
def test_no_text_that_quotes_a_known_url_shows_its_password(url: str, text: str) -> None:
    assert "cret" not in without_passwords(text.format(url=url), [url])


@pytest.mark.parametrize(
    "text",
    [
        "host=h user=me password=s3cret dbname=db",
        "host=h password = 's3cret with spaces' dbname=db",
        "password='it\\'s s3cret' x",
        'connect(host="h", password="s3cret")',
        "{'user': 'me', 'password': 's3cret'}",
        "PGPASSWORD=s3cret",
        "sslpassword=s3cret,with,commas",
        "cannot open postgresql://me:s3cret@host/db",
        "cannot open 'postgresql+psycopg://me:pa@s3cret@host/db'",
        "cannot open postgresql:me:s3cret@host",
        "cannot open //me:s3cret@host",
        "postgresql://host/db?passwd=s3cret&x=y",
        "postgresql://host/db?PassWord%3Ds3cret",
    ],
)
def test_an_unknown_password_is_hidden_where_its_name_or_its_url_tells_it(text: str) -> None:
    assert "cret" not in without_passwords(text)


@pytest.mark.parametrize(
    "text",
    [
        "cell.wRank must be at most min(D, H) = 16, got 32; set cell.wRank=null for full rank",
        'connection to server at "127.0.0.1", port 1 failed: Connection refused',
        "see https://hydra.cc/docs/1.3/advanced/hydra-command-line-flags for details",
        'FATAL:  password authentication failed for user "me"',
        "outputs/digits/fastgrnn/0123456789ab: no such folder",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert without_passwords(text, ["sqlite:///x/study.db"]) == text
