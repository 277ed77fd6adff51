"""What the search gains over plain Optuna, and what its loop costs.

Gain: the hypervolume (accuracy on validation data above chance, times octaves of flash below the limit) of the front
after the same number of trainings: this search (budget first, every width of every trained model), and plain TPE over
the same space with the widths as parameters, where each training gives one program, too large or not.

Cost: time outside training and measuring (sampling, storage, bookkeeping) over the time inside, 100-epoch trials.

    python benchmarks/search.py [--trials 25] [--epochs 30] [--seeds 3] [--limit 1024] [--skip-gain] [--skip-cost]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import optuna
import torch
from hydra import compose, initialize_config_dir

from edgesearch.__main__ import CONF
from edgesearch.config import Config, typed_config
from edgesearch.errors import ConfigError
from edgesearch.search.configurations import Configurations
from edgesearch.search.programs import chance, hypervolume, points
from edgesearch.search.space import Space
from edgesearch.search.storage import default_url
from edgesearch.search.study import Study, definition, open_ledger
from edgesearch.search.trial import Limit, train_trial
from edgesearch.training.fit import fit

Pairs = list[tuple[int, float]]


def composed(overrides: Sequence[str]) -> Config:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return typed_config(compose("config", overrides=list(overrides)))


def prepared(folder: Path, overrides: Sequence[str]) -> tuple[Config, Configurations]:
    config = composed([*overrides, f"outputs_dir={folder}"])
    return config, Configurations(config, Space.parse(config.search.space), overrides, composed)


def ours(folder: Path, overrides: Sequence[str]) -> tuple[Pairs, float, float]:
    """Search; return (flash, accuracy) of every program, the seconds inside trainings, and those in all."""
    config, configurations = prepared(folder, overrides)
    wanted = definition(config, configurations.space, configurations.content)
    study = Study(config, configurations, open_ledger(config, default_url(folder), wanted), alone=True)
    configurations.dataset(config.data)
    inside, started = 0.0, time.monotonic()
    while (claim := study.claim()) is not None:
        result = train_trial(study, claim, folder, lambda row: None, Limit(None))
        inside += 0.0 if result is None else result.seconds
    seconds = time.monotonic() - started
    return [(p.flash_bytes, p.val_accuracy) for _, p in study.fitting()], inside, seconds


def plain(folder: Path, overrides: Sequence[str], trials: int) -> Pairs:
    """Plain TPE over the same space and widths; return (flash, accuracy) of every program."""
    config, configurations = prepared(folder, overrides)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=config.seed)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    found: Pairs = []
    while len(found) < trials:
        trial = study.ask()
        params = {name: trial._suggest(name, d) for name, d in configurations.space.distributions.items()}
        weight_bits = trial.suggest_categorical("weight_bits", config.search.weight_bits)
        activation_bits = trial.suggest_categorical("activation_bits", config.search.activation_bits)
        try:
            proposal = configurations.propose(params)
        except ConfigError:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        checkpoint = folder / f"plain-{trial.number}.ckpt"
        fitted = fit(proposal.config, proposal.dataset, proposal.spec, checkpoint, lambda row: None)
        (point,) = points(proposal, fitted.state_dict, [(weight_bits, activation_bits)])
        found.append((point.flash_bytes, point.val_accuracy))
        study.tell(trial, [point.val_accuracy, point.flash_bytes])
    return found


def gain(options: argparse.Namespace, overrides: Sequence[str]) -> None:
    ratios = []
    for seed in range(options.seeds):
        given = [
            *overrides, f"seed={seed}", f"train.epochs={options.epochs}", f"search.n_trials={options.trials}",
            "search.objective=pareto", f"budget.flash_bytes={options.limit}",
        ]  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            found, _, _ = ours(Path(folder), given)
            reference = plain(Path(folder), given, options.trials)
        least = chance(10)
        volumes = [hypervolume(pairs, options.limit + 1, least) for pairs in (found, reference)]
        fitting = sum(flash <= options.limit for flash, _ in reference)
        ratios.append(volumes[0] / volumes[1])
        print(
            f"seed {seed}, {options.trials} trainings each: hypervolume {volumes[0]:.3f} against {volumes[1]:.3f} of "
            f"plain TPE ({fitting} of whose programs fit), ratio {ratios[-1]:.2f}"
        )
    print(f"hypervolume over plain TPE's, median of {options.seeds} seeds: {statistics.median(ratios):.2f}")


def cost(overrides: Sequence[str]) -> None:
    for storage in ("empty", "of 300 trials"):
        given = [*overrides, "train.epochs=100", "search.n_trials=8", "search.pruner=none", "budget.flash_bytes=1024"]
        with tempfile.TemporaryDirectory() as folder:
            if storage != "empty":
                _fill(Path(folder), given, 300)
                given = [o if not o.startswith("search.n_trials") else "search.n_trials=308" for o in given]
            _, inside, seconds = ours(Path(folder), given)
        print(f"search loop over training and measuring, study {storage}: {(seconds - inside) / inside:.4f}")


def _fill(folder: Path, overrides: Sequence[str], count: int) -> None:
    """Put finished trials into the study, made from one training."""
    config, configurations = prepared(folder, [*overrides, "train.epochs=100"])
    wanted = definition(config, configurations.space, configurations.content)
    ledger = open_ledger(config, default_url(folder), wanted)
    study = Study(config, configurations, ledger, alone=True)
    first = None
    for _ in range(count):
        study.config = replace(config, search=replace(config.search, n_trials=count + 1, name="random"))
        claim = study.claim()
        assert claim is not None
        if first is None:
            first = train_trial(study, claim, folder, lambda row: None, Limit(None))
            weights = {"FC": torch.zeros(32, 10)}
            continue
        made = replace(first, number=claim.number, params=claim.params, identity=claim.proposal.identity)
        study.complete(claim, made, weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=25)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=1024)
    parser.add_argument("--skip-gain", action="store_true")
    parser.add_argument("--skip-cost", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    overrides = ["task=search", "data=usps10", "data.variant=libsvm", "data.augment=true", "progress=false"]
    if not options.skip_cost:
        cost(overrides)
    if not options.skip_gain:
        gain(options, overrides)


if __name__ == "__main__":
    main()
