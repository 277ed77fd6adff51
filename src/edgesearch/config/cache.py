"""Where downloads, features and built extensions are kept between runs."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the user's cache folder: $XDG_CACHE_HOME/edgesearch or ~/.cache/edgesearch."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "edgesearch"
