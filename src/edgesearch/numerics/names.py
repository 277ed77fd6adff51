"""Which names a program's vectors and constants may have: they become part of generated C, Python and EzPC."""

import keyword
import re

from edgesearch.errors import ModelFileError

_LONGEST = 63  # significant characters of an identifier in C99
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*")  # (generated code has the names that end in _)
_C = (
    "auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while"
)
_CPP = (
    "alignas alignof and and_eq asm bitand bitor bool catch char8_t char16_t char32_t class co_await co_return "
    "co_yield compl concept consteval constexpr constinit const_cast decltype delete dynamic_cast explicit export "
    "false friend mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public "
    "reinterpret_cast requires static_assert static_cast template this thread_local throw true try typeid typename "
    "using virtual wchar_t xor xor_eq"
)
_SAVEZ = "file allow_pickle"  # arguments of numpy.savez, which takes arrays by name
_KEYWORDS = frozenset({*f"{_C} {_CPP} {_SAVEZ}".split(), *keyword.kwlist, *keyword.softkwlist})
FRAME, WINDOW = "input", "window"


def check_name(name: str) -> None:
    """Raise `ModelFileError` unless `name` is an identifier of every language that programs are written in.

    An identifier here has letters, digits and single underscores within, at most 63 characters, and is no keyword.
    """
    if len(name) > _LONGEST or not _NAME.fullmatch(name) or name in _KEYWORDS:
        raise ModelFileError(
            f"a program's names must be identifiers such as l0_h of at most {_LONGEST} characters and no keywords, "
            f"got {name[:80]!r}; export the model again"
        )
