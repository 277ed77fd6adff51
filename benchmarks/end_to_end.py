"""What Lightning, the schedule and the record keeping cost, and what the fused op saves.

Training through `fit` and a plain loop over the same model, each with the eager and with the fused backend: FastGRNN on
USPS (libsvm variant, H = 32, batch 100), Adam, gradient clipping and a validation pass an epoch, in one process on one
thread. Runs alternate; CPU time is compared, so that other load does not count.

    python benchmarks/end_to_end.py [--epochs 100] [--repeats 3]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from torch.nn.functional import cross_entropy

from edgesearch.__main__ import CONF
from edgesearch.cells.classifier import AnySpec, build_classifier
from edgesearch.config import Config, typed_config
from edgesearch.data import Dataset, load_dataset
from edgesearch.data.batches import Batches, tensors
from edgesearch.pipeline.train import spec_for
from edgesearch.training.fit import fit


def plain(config: Config, dataset: Dataset, spec: AnySpec) -> list[float]:
    """Train in a bare loop; return the CPU time at the start and at the end of each epoch."""
    torch.manual_seed(config.seed)
    model = build_classifier(spec, config.cell.backend)
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


def through_fit(config: Config, dataset: Dataset, spec: AnySpec) -> list[float]:
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
    with initialize_config_dir(str(CONF), version_base="1.3"):
        base = ["data=usps10", "data.variant=libsvm", f"train.epochs={arguments.epochs}"]
        configs = {
            backend: typed_config(compose("config", overrides=[*base, f"cell.backend={backend}"]))
            for backend in ("eager", "fused")
        }
    dataset = load_dataset(configs["eager"].data)
    spec = spec_for(configs["eager"], dataset)
    steps = len(Batches(dataset, configs["eager"].train.batch_size, 0))
    build_classifier(spec, "fused")(torch.zeros(spec.steps, 1, spec.input_size))  # builds the op before the clock runs
    columns = [(backend, way) for backend in configs for way in (plain, through_fit)]
    step: dict[str, list[float]] = {_name(*column): [] for column in columns}
    whole: dict[str, list[float]] = {_name(*column): [] for column in columns}
    for _ in range(arguments.repeats):
        for backend, way in columns:
            stamps = way(configs[backend], dataset, spec)
            step[_name(backend, way)].append(statistics.median(b - a for a, b in pairwise(stamps)) / steps)
            whole[_name(backend, way)].append(stamps[-1] - stamps[0])
    for title, times in (("one optimizer step", step), (f"{arguments.epochs} epochs", whole)):
        median = {name: statistics.median(values) for name, values in times.items()}
        print(title)
        for name, seconds in median.items():
            print(f"  {name:18s} {1e3 * seconds:10.2f} ms")
        for backend in configs:
            print(f"  {backend}: through fit / plain loop {median[f'{backend} fit'] / median[f'{backend} plain']:.2f}")
        print(f"  through fit: fused / eager {median['fused fit'] / median['eager fit']:.2f}")


Way = Callable[[Config, Dataset, AnySpec], list[float]]


def _name(backend: str, way: Way) -> str:
    return f"{backend} {'plain' if way is plain else 'fit'}"


if __name__ == "__main__":
    main()
