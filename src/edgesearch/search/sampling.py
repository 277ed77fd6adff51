"""Samplers and pruners by the names of the configuration."""

import secrets

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from edgesearch.config import SearchConfig

RUNGS = 8  # reports of a phase
PHASES = ("dense", "iht", "retrain", "quantized")
_STARTUP = 10
_POPULATION = 16


def sampler(search: SearchConfig, seed: int, count: int, *, alone: bool) -> BaseSampler:
    """Return the sampler for the next trial of `count`.

    A new one each time, so that a study that goes on draws as if it had never stopped. Processes that share a study
    draw differently.
    """
    salt = 0 if alone else secrets.randbits(32)
    seed = int(np.random.SeedSequence([seed, salt, count]).generate_state(1)[0])
    if search.name == "tpe":
        return TPESampler(seed=seed, n_startup_trials=_STARTUP, multivariate=True, constant_liar=not alone)
    if search.name == "nsga2":
        return NSGAIISampler(seed=seed, population_size=_POPULATION)
    if search.name == "gp":
        return GPSampler(seed=seed, n_startup_trials=_STARTUP)
    return RandomSampler(seed=seed)  # grid: its points are queued, none is drawn


def prunes(search: SearchConfig) -> bool:
    """Tell whether poor trials are ended early; where the whole trade-off is wanted none is."""
    return search.objective == "accuracy" and search.pruner != "none"


def pruner(search: SearchConfig) -> BasePruner:
    """Return the pruner."""
    if not prunes(search):
        return NopPruner()
    if search.pruner == "hyperband":
        return HyperbandPruner(min_resource=2, max_resource=RUNGS * len(PHASES), reduction_factor=3)
    return MedianPruner(n_startup_trials=_STARTUP, n_warmup_steps=2)


class Rungs:
    """Reports validation accuracies to the pruner at steps that name the phase and how far it has come.

    Accuracies are compared at equal steps, so that never one of the dense phase with one of a sparse or quantised one.

    Args:
        trial: to report to.
        lengths: epochs of each phase.
    """

    def __init__(self, trial: optuna.Trial, lengths: dict[str, float]) -> None:
        self._trial, self._lengths = trial, lengths
        self._seen: dict[str, int] = {}
        self._last = -1

    def epoch(self, phase: str, accuracy: float) -> None:
        """Take in an epoch.

        Raises:
            optuna.TrialPruned: the trial is poorer than others were at this step.
        """
        seen = self._seen[phase] = self._seen.get(phase, 0) + 1
        rung = min(RUNGS, int(RUNGS * seen / self._lengths[phase])) - 1
        step = PHASES.index(phase) * RUNGS + rung
        if rung < 0 or step == self._last:
            return
        self._last = step
        self._trial.report(accuracy, step)
        if self._trial.should_prune():
            raise optuna.TrialPruned
