"""JSON that others made, whose lists and mappings are counted before any of them is made."""

from pathlib import Path
from typing import Any

from edgesearch.untrusted.files import DamagedError
from edgesearch.untrusted.text import parse_json, read_text

_LISTS = 500_000  # an empty one takes thirty times its text in memory
_MOST = 32 << 20  # bytes


def read_lists(path: Path, most: int = _MOST) -> Any:
    """Return what a JSON file of at most `most` bytes holds.

    Raises:
        DamagedError: as `read_json` does, or for more than half a million lists and mappings.
        OSError: it cannot be read.
    """
    text = read_text(path, most)
    if text.count("[") + text.count("{") > _LISTS:
        raise DamagedError(f"it has more than {_LISTS} lists and mappings")
    return parse_json(text)
