"""What reaches a terminal is words."""

import subprocess
import sys

import pytest

from edgesearch.__main__ import main
from edgesearch.plain import one_line, printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain words, 100 % of them", "plain words, 100 % of them"),
        ("größe 東京 🙂", "größe 東京 🙂"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("safe\roverwritten", r"safe\roverwritten"),
        ("a\nb\tc\x00\x7f", r"a\nb\tc\x00\x7f"),
        ("abc\u202edcba\u2066x", r"abc\u202edcba\u2066x"),
        ("line\u2028line", r"line\u2028line"),
        ("file\udcff", r"file\udcff"),
    ],
)
def test_control_characters_are_shown_and_not_sent(text: str, expected: str) -> None:
    assert printable(text) == expected
    printable(text).encode("utf-8")


def test_what_is_to_stay_stays() -> None:
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"


def test_a_message_is_one_line_without_passwords() -> None:
    said = one_line("cannot open\n  postgresql://me:s3cret@host/db \x1b[2J")
    assert said == r"cannot open postgresql://me:***@host/db \x1b[2J"


@pytest.mark.parametrize(
    "argument",
    [
        "search.storage=postgresql://me:p[s3cret@host/db",
        "search.storage=postgresql://me:s3cret@host/db]",
        "search.storage='postgresql://me:s3cret",
        "search.storage=[postgresql://me:s3cret@h]",
        "search.storage=postgresql://me:s3cret$x{@host",
        "search.storge=postgresql://me:s3cret@host/db",
        "search.storage=postgresql://me:s3cret@host:port/db",
        "search.storage='postgresql+psycopg://me:{s3cret}@127.0.0.1:1/db'",
        "search.storage='postgresql+psycopg://me@127.0.0.1:1/db?pasword=s3cret'",
        "++search.storage='mysql+absent://me:s3cret@127.0.0.1:1/db'",
        "search={storage:'postgresql://me:s3cret@host/db'}",
        "search.storage='s3cret:x@'",
    ],
)
def test_no_message_of_the_command_line_shows_a_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argument: str
) -> None:
    from edgesearch.search import storage

    monkeypatch.setattr(storage, "_FIRST_STARTS", 1)
    arguments = ("task=report", "study=x", argument)
    monkeypatch.setattr(sys, "argv", ["edgesearch", *arguments, "progress=false"])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code in (1, 2)
    assert said.err.count("\n") == 1
    assert "cret" not in said.out + said.err


def test_not_even_a_crash_shows_a_password() -> None:
    code = (
        "import sys; sys.argv = ['edgesearch', 'search.storage=postgresql://me:s3cret@host/db', '--version'];"
        "from edgesearch.__main__ import main; main();"
        "raise RuntimeError('postgresql://me:s3cret@host/db s3cret \\x1b')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert r"RuntimeError: postgresql://me:***@host/db *** \x1b" in done.stderr
    assert "Traceback" in done.stderr
    assert done.returncode == 1


def test_a_sweep_with_a_storage_is_refused_however_it_is_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for argument in ("++search.storage=sqlite:///x", "search={storage:x}"):
        monkeypatch.setattr(sys, "argv", ["edgesearch", "-m", argument])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert "one search at a time" in capsys.readouterr().err
