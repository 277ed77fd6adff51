"""Recurrent against convolutional at the same flash: a search of the trade-off of each cell on each data set.

All get the same time. Prints, for every limit, the program that validates best below it: integer test accuracy, flash,
RAM, MACs.

    python benchmarks/equal_flash.py [--seconds 240] [--data fsdd gsc12_small har6] [--outputs FOLDER]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgesearch.search.tasks import picked

LIMITS = (2048, 4096, 8192)
SPACES = {
    "fastgrnn": "{cell:{hidden_size:'range(8,97,8)',wRank:'range(2,17,2)',uRank:'range(2,33,2)',"
    "gate_nonlinearity:'choice(sigmoid,quantSigm)',update_nonlinearity:'choice(tanh,quantTanh)'},"
    "schedule:{sparsity:'choice(0.0,0.3,0.5)'},train:{lr:'tag(log,interval(0.003,0.02))'}}",
    "lenet5": "{cell:{channels:'range(2,13,1)',hidden_size:'range(4,49,4)'},"
    "schedule:{sparsity:'choice(0.0,0.5,0.75)'},train:{lr:'tag(log,interval(0.001,0.01))'}}",
    "dscnn": "{cell:{channels:'range(4,29,4)',num_layers:'range(1,4,1)'},train:{lr:'tag(log,interval(0.001,0.02))'}}",
}


def search(data: str, cell: str, seconds: float, outputs: Path) -> dict[str, Any]:
    """Search the trade-off of a cell on a data set; return study.json."""
    options = (
        f"experiment={data} cell={cell} cell.wRank=null cell.uRank=null task=search search=tpe search.objective=pareto "
        f"budget.flash_bytes={LIMITS[-1]} search.n_trials=1000 search.workers=2 search.timeout={seconds} "
        "search.weight_bits=[2,4,8] search.finetune=2 finetune.epochs=20 finetune.lr=0.002 train.epochs=40 "
        "progress=false"
    )
    command = [sys.executable, "-m", "edgesearch", *options.split(), f"search.study={data}-{cell}"]
    command += ["~search.space", f"+search.space={SPACES[cell]}", f"outputs_dir={outputs}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads((outputs / "search" / f"{data}-{cell}" / "study.json").read_text())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--data", nargs="+", default=["fsdd", "gsc12_small", "har6"])
    parser.add_argument("--outputs", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for data in options.data:
            for cell in SPACES:
                summary = search(data, cell, options.seconds, (options.outputs or Path(folder)).resolve())
                trained = summary["trained"]
                smallest = min(record["flash_bytes"] for record in summary["front"])
                for limit in LIMITS:
                    if smallest > limit:
                        print(f"{data} {cell} at most {limit} bytes: no program so small ({trained} trainings)")
                        continue
                    record = picked(summary, str(limit))
                    print(
                        f"{data} {cell} at most {limit} bytes: {100 * record['test_accuracy']['integer']:.2f} %, "
                        f"{record['flash_bytes']} B, RAM {record['ram_bytes']} B, {record['macs']:,} MACs "
                        f"({trained} trainings)",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
