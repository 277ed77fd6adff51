"""What things are called in exported C: all that a linker or another file sees begins with the prefix."""

import re
from dataclasses import dataclass

from edgesearch.errors import ConfigError, ModelFileError
from edgesearch.numerics.names import check_name

DEFAULT = "model"
_LONGEST = 32
# files of the standard library, which a folder on the include path would hide, and the golden vectors
_HEADERS = (
    "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic "
    "stdbool stddef stdint stdio stdlib stdnoreturn string strings tgmath threads time uchar wchar wctype"
)
_TAKEN = frozenset((*_HEADERS.split(), "golden"))


@dataclass(frozen=True)
class Symbols:
    """Names of a model in C.

    Attributes:
        prefix: of functions, types and constants; in capitals of macros.

    Raises:
        ConfigError: the prefix is no identifier, or a keyword.
    """

    prefix: str = DEFAULT

    def __post_init__(self) -> None:
        try:
            check_name(self.prefix)
        except ModelFileError as error:
            raise ConfigError(
                f"export.prefix must be an identifier such as kws, no keyword, with single underscores within, got "
                f"{self.prefix[:80]!r}; set export.prefix=kws"
            ) from error
        if self.prefix.lower() in _TAKEN:
            raise ConfigError(
                f"export.prefix must be no name of a standard header and not golden, got {self.prefix}; "
                "set export.prefix=kws"
            )
        if len(self.prefix) > _LONGEST:
            raise ConfigError(
                f"export.prefix must have at most {_LONGEST} characters, got {len(self.prefix)}; set export.prefix=kws"
            )

    def of(self, word: str) -> str:
        """A function, a type or a file."""
        return f"{self.prefix}_{word}"

    def macro(self, word: str) -> str:
        """A macro."""
        return f"{self.prefix.upper()}_{word}"

    def constant(self, name: str, part: str = "") -> str:
        """The array of a constant, or of a part of it."""
        return f"{self.prefix}_{name}_{part}"

    def renamed(self, text: str) -> str:
        """A fixed text, which is written for the prefix `model`, with this one."""
        if self.prefix == DEFAULT:
            return text
        return re.sub(
            r"\b(?:(model)|MODEL)(?=[_.])", lambda found: self.prefix if found[1] else self.prefix.upper(), text
        )


def array(name: str) -> str:
    """A vector, as a local array or a member of the state."""
    return f"{name}_"


def unit(name: str) -> str:
    """Unit i of a vector, as a local number."""
    return f"{name}_i"
