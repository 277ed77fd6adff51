"""What Lightning, the schedule and the record keeping cost: training through `fit` against a plain loop.

Both train the same FastGRNN on USPS (libsvm variant, H = 32, batch 100), with Adam, gradient clipping and a validation
pass an epoch, in one process on one thread. Runs alternate; CPU time is compared, so that other load does not count.

    python benchmarks/end_to_end.py [--epochs 100] [--repeats 3]
"""

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from torch.nn.functional import cross_entropy

from edgesearch.__main__ import CONF
from edgesearch.cells.classifier import build_classifier
from edgesearch.cells.spec import ModelSpec
from edgesearch.config import Config, typed_config
from edgesearch.data import Dataset, load_dataset
from edgesearch.data.batches import Batches, tensors
from edgesearch.pipeline.train import spec_for
from edgesearch.training.fit import fit


def plain(config: Config, dataset: Dataset, spec: ModelSpec) -> list[float]:
    """Train in a bare loop; return the CPU time at the start and at the end of each epoch."""
    torch.manual_seed(config.seed)
    model = build_classifier(spec)
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=config.train.lr, fused=True)
    batches = Batches(dataset, config.train.batch_size, config.seed)
    x_val, y_val = tensors(dataset, dataset.validation)
    stamps = [time.process_time()]
    for epoch in range(config.train.epochs):
        model.train()
        for x, y in batches.epoch(epoch):
            optimizer.zero_grad(set_to_none=True)
            cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            (model(x_val).argmax(dim=1) == y_val).float().mean().item()
        stamps.append(time.process_time())
    return stamps


def through_lightning(config: Config, dataset: Dataset, spec: ModelSpec) -> list[float]:
    """Train through `fit`; return the CPU time at the start and at the end of each epoch."""
    stamps = [time.process_time()]
    with tempfile.TemporaryDirectory() as folder:
        fit(config, dataset, spec, Path(folder) / "last.ckpt", lambda row: stamps.append(time.process_time()))
    return stamps


def main() -> None:
    """Print step times and both ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    overrides = ["data=usps10", "data.variant=libsvm", f"train.epochs={arguments.epochs}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = typed_config(compose("config", overrides=overrides))
    dataset = load_dataset(config.data)
    spec = spec_for(config, dataset)
    steps = len(Batches(dataset, config.train.batch_size, 0))
    ways = {"plain loop": plain, "through fit": through_lightning}
    step: dict[str, list[float]] = {name: [] for name in ways}
    whole: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.repeats):
        for name, way in ways.items():
            stamps = way(config, dataset, spec)
            step[name].append(statistics.median(b - a for a, b in itertools.pairwise(stamps)) / steps)
            whole[name].append(stamps[-1] - stamps[0])
    for title, times in (("one optimizer step", step), (f"{arguments.epochs} epochs", whole)):
        base, ours = (statistics.median(times[name]) for name in ways)
        print(f"{title}: plain loop {1e3 * base:.2f} ms, through fit {1e3 * ours:.2f} ms, ratio {ours / base:.2f}")


if __name__ == "__main__":
    main()
