"""The one place that takes passwords out of what people may read: URLs of storages, and texts that may hold one.

A URL is taken apart by a strict pattern. Of what does not match it nothing but the scheme is shown, as nobody can tell
then which part is the password.
"""

import os
import re
import urllib.parse
from collections.abc import Iterable

HIDDEN = "***"
_URL = re.compile(
    r"(?P<scheme>[a-z][\w+]*)://"
    r"(?:(?P<user>[\w.%+-]*)(?P<password>:[^@/?#\s]*)?@)?"
    r"(?P<place>(?:[\w.-]*|\[[\da-fA-F:.]+\])(?::\d+)?(?:/[\w.%+/-]*)?)"
    r"(?P<query>\?.*)?",
    re.DOTALL,
)
_FILE = re.compile(r"(?P<file>(?:sqlite(?:\+\w+)?:///|journal:)[^?@]*)(?P<query>\?.*)?", re.DOTALL)
_PLAIN = re.compile(r"[\w./ -]*")  # no scheme, no password
_SCHEME = re.compile(r"(?:postgresql|mysql|mariadb|oracle|mssql|sqlite|journal|https?)(?:\+[a-z0-9_]+)?:")
_NAMED = re.compile(
    r"(?P<name>\w*(?:password|passwd|passphrase|pwd)\w*)(?P<sign>[\"']?\s*(?:=|:|%3[aAdD])\s*)"
    r"(?P<value>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s&'\"]+)",
    re.IGNORECASE,
)
_WITH_USER = re.compile(r"[a-zA-Z][\w+.-]*:[^\s'\"]*@[^\s'\",;)]*|//[^\s'\"]*@[^\s'\",;)]*")
_BETWEEN = re.compile(r"\w+=|[:/@?&=#\s{}]+")  # what may stand beside a password
_STORAGE = re.compile(r"[+~]*search(?:\.storage\s*=|(?==.*storage)=)(?P<value>.*)", re.DOTALL)
_SHORT = 3  # characters of a password, below which it is no more than a piece of other words


def shown(url: str) -> str:
    """Return the URL of a storage without password and query, whatever else is wrong with it."""
    found = _FILE.fullmatch(url)
    if found:
        return found["file"] + (f"?{HIDDEN}" if found["query"] else "")
    found = _URL.fullmatch(url)
    if found:
        user = "" if found["user"] is None else found["user"] + (f":{HIDDEN}" if found["password"] else "") + "@"
        return f"{found['scheme']}://{user}{found['place']}" + (f"?{HIDDEN}" if found["query"] else "")
    if _PLAIN.fullmatch(url):
        return url
    scheme = _SCHEME.match(url)
    return f"{scheme[0]}{HIDDEN}" if scheme else HIDDEN


def without_passwords(text: str, urls: Iterable[str] = ()) -> str:
    """Return a text for people without passwords.

    Args:
        text: of an error, a warning or a driver.
        urls: of storages that the text may quote, or parts of them.
    """
    for url in urls:
        for secret in sorted(_secrets(url), key=len, reverse=True):
            text = text.replace(secret, shown(url) if secret == url else HIDDEN)
    text = _NAMED.sub(lambda found: f"{found['name']}{found['sign']}{HIDDEN}", text)
    return _WITH_USER.sub(lambda found: shown(found[0]), text)


def storages_of(arguments: Iterable[str]) -> list[str]:
    """Return what a command line gives as `search.storage`, quoted or not, directly or through the environment."""
    found = []
    for argument in arguments:
        given = _STORAGE.match(argument)
        if given:
            value = given["value"]
            found += [value, value.strip("'\"")]
            found += [os.environ[name] for name in re.findall(r"oc\.env:\s*(\w+)", value) if name in os.environ]
    return found


def _secrets(url: str) -> set[str]:
    """The URL, what `shown` hides of it, and every piece of that, as a driver may quote it: decoded too."""
    found = _URL.fullmatch(url) or _FILE.fullmatch(url)
    if found:
        hidden = [part for name in ("password", "query") if (part := found.groupdict().get(name))]
    else:
        hidden = [] if _PLAIN.fullmatch(url) else [_SCHEME.sub(":", url, count=1)]
    secrets = {url, *(part[1:] for part in hidden)}
    for part in hidden:
        secrets |= set(_BETWEEN.split(part[1:]))
    secrets |= {urllib.parse.unquote(secret) for secret in secrets}
    return {secret for secret in secrets if len(secret) >= _SHORT}
