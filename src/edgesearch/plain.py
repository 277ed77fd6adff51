"""Text from files, records and studies on its way to a terminal: nothing in it is a command to the terminal."""

import unicodedata
from collections.abc import Iterable

from edgesearch.config.passwords import without_passwords

_TURNING = frozenset("\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
_COMMANDS = ("Cc", "Cs")  # control characters; half of a character, which no terminal can be sent


def printable(text: str, keep: str = "") -> str:
    r"""Return a text with escapes such as `\x1b` for control characters and for those that turn the direction around.

    Args:
        text: of any origin.
        keep: control characters that stay, such as a newline.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in keep or not _commands(c) else _escape(c) for c in text)


def one_line(message: str, urls: Iterable[str] = ()) -> str:
    """Return a message as one line to print, without passwords.

    Args:
        message: of an error or a warning.
        urls: of storages that it may quote.
    """
    return printable(" ".join(without_passwords(message, urls).split()))


def _commands(character: str) -> bool:
    return character in _TURNING or unicodedata.category(character) in _COMMANDS


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
