"""Small studies on the embedded data set."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgesearch.config import Config
from edgesearch.search.configurations import Configurations
from edgesearch.search.space import Space
from edgesearch.search.storage import default_url
from edgesearch.search.study import Study, definition, open_ledger
from tests.conftest import composed

SMALL = (
    "task=search", "search.workers=1", "train.epochs=3", "train.checkpoint_seconds=0", "search.finetune=0",
    "progress=false", "search.space.train=null", "search.space.cell.hidden_size='choice(4,6,8,10,12)'",
    "search.weight_bits=[4,8]",
)  # fmt: skip


def base(folder: Path, *overrides: str) -> Config:
    return composed(*SMALL, f"outputs_dir={folder}", *overrides)


def study(folder: Path, *overrides: str, alone: bool = True) -> Study:
    config = base(folder, *overrides)
    searched = Space.parse(config.search.space)

    def compose(given: Sequence[str]) -> Config:
        return composed(*given)

    configurations = Configurations(config, searched, [*SMALL, f"outputs_dir={folder}", *overrides], compose)
    url = config.search.storage or default_url(folder)
    ledger = open_ledger(config, url, definition(config, searched, configurations.content))
    return Study(config, configurations, ledger, alone=alone)


def space(text: str) -> tuple[str, str]:
    """The overrides that replace the space."""
    return "~search.space", f"+search.space={text}"


def command(folder: Path, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "edgesearch", *SMALL, f"outputs_dir={folder}", *overrides]


def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder, *overrides), capture_output=True, text=True, env=dict(os.environ))


def summary(folder: Path, name: str = "digits-fastgrnn-none") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "search" / name / "study.json").read_text())
    return found
