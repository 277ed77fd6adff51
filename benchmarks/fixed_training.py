"""What an epoch in integers takes beside one in floats: `experiment=usps10_fixed` and its twin, in one process on one
thread. Epochs' CPU times are compared, so that other load does not count; the fastest of each counts.

    python benchmarks/fixed_training.py [--epochs 6] [--cell lstm]
"""

import argparse
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from edgesearch.__main__ import CONF
from edgesearch.config import Config, typed_config
from edgesearch.data import Dataset, load_dataset
from edgesearch.pipeline.train import spec_for
from edgesearch.training.fit import fit


def fastest_epoch(config: Config, dataset: Dataset) -> float:
    """Train through `fit`; return the least CPU time between two epochs' ends."""
    stamps = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "last.ckpt"
        fit(config, dataset, spec_for(config, dataset), checkpoint, lambda row: stamps.append(time.process_time()))
    return min(later - earlier for earlier, later in pairwise(stamps))


def main() -> None:
    """Print seconds an epoch and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--cell", default="lstm")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ways = {
        "integers": ["train.arithmetic=fixed"],
        "integers, stochastic": ["train.arithmetic=fixed", "train.rounding=stochastic"],
        "floats, eager": ["train.arithmetic=float", "cell.backend=eager"],
        "floats, fused": ["train.arithmetic=float", "cell.backend=fused"],
    }
    seconds: dict[str, float] = {}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for way, overrides in ways.items():
            base = ["experiment=usps10_fixed", f"cell={arguments.cell}", f"train.epochs={arguments.epochs}"]
            config = typed_config(compose("config", overrides=[*base, *overrides]))
            seconds[way] = fastest_epoch(config, load_dataset(config.data))
            ratio = seconds["integers"] / seconds[way]
            print(f"{way}: {seconds[way]:.3f} s an epoch; integers take {ratio:.1f} times that")


if __name__ == "__main__":
    main()
