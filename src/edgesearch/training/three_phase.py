"""Sparsity by name and a LightningModule in; weights with exactly the wanted zeros and the masks that keep them out."""

import difflib
import math
import warnings
from collections.abc import Mapping
from fnmatch import fnmatchcase
from numbers import Real
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import GradientAccumulationScheduler
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from edgesearch.cells.spec import kept_entries
from edgesearch.compress.threshold import keep_largest
from edgesearch.errors import ConfigError, EdgesearchWarning
from edgesearch.training.module import SequenceClassifier
from edgesearch.training.phases import Phases

_CUTS = ("ramp", "step")


class ThreePhase(pl.Callback):
    """Makes named weights of any LightningModule sparse while it trains, in three phases of a third of the steps each.

    First all entries are trained. Then iterative hard thresholding keeps the largest, chosen anew every `trim_every`
    steps. Last, those of the last choice are trained further. At the end exactly
    `max(1, size - round(sparsity * size))` entries of a weight are kept, the others are zero.

    A step is one step of an optimiser, however it is called: with automatic optimisation (accumulated gradients are one
    step) or manual, by one optimiser or several, which count together. With manual optimisation, where nobody knows how
    many steps a batch takes, and neither `total_steps` nor the trainer's `max_steps` given, a batch counts as one.

    The masks are part of a checkpoint; a resumed training goes on to the same bits. The last weights are the sparse
    ones: a checkpoint that was chosen for its validation loss may come from before. Parameters must be whole on each
    device (DDP, not FSDP).

    Example:
        >>> sparse = edgesearch.ThreePhase({"encoder.cells.*.[WU]": 0.5, "decoder.cells.0.U": 0.8})
        >>> pl.Trainer(max_epochs=30, callbacks=[sparse]).fit(module, loader)

    Args:
        sparsity: by parameter name, as in `module.named_parameters()`, or shell pattern of names, the fraction of
            entries that becomes zero, in [0, 1). A name goes before the patterns that match it.
        total_steps: steps of the whole training; None for what the trainer expects.
        trim_every: steps from one choice of entries to the next in the second phase.
        cut: `ramp` lets the sparsity grow as 1 - (1 - p)^3 over the first half of the second phase (Zhu & Gupta 2017),
            `step` cuts all at once, as the reference does.

    Raises:
        ConfigError: an argument out of range; when the training starts: a name that matches no parameter, patterns
            that contradict each other, a number of steps that is not known, no optimiser whose steps can be seen.

    Source: Kusupati et al., FastGRNN: A Fast, Accurate, Stable and Tiny Kilobyte Sized Gated Recurrent Neural Network,
    NeurIPS 2018, section 3.3.
    """

    def __init__(
        self,
        sparsity: Mapping[str, float],
        *,
        total_steps: int | None = None,
        trim_every: int = 15,
        cut: str = "ramp",
    ) -> None:
        if not sparsity:
            raise ConfigError('sparsity must name at least one parameter, got {}; set sparsity={"*.W": 0.5}')
        for name, share in sparsity.items():
            if not isinstance(share, Real) or not 0 <= float(share) < 1:
                raise ConfigError(
                    f'sparsity must be at least 0 and less than 1, got {share!r} for {name}; set "{name}": 0.5'
                )
        for key, count in (("total_steps", total_steps), ("trim_every", trim_every)):
            if count is not None and count < 1:
                raise ConfigError(f"{key} must be at least 1, got {count}; leave {key} out")
        if cut not in _CUTS:
            raise ConfigError(f"cut must be one of {', '.join(_CUTS)}, got {cut!r}; set cut='ramp'")
        self.sparsity = {name: float(share) for name, share in sparsity.items()}
        self.total_steps, self.trim_every, self.cut = total_steps, trim_every, cut
        self.phases: Phases | None = None
        self._shares: dict[str, float] = {}
        self._weights: list[Tensor] = []
        self._masks: dict[str, Tensor] = {}
        self._done: int | None = None
        self._hooks: list[RemovableHandle] = []

    def attach(self, module: nn.Module, total: int) -> None:
        """Find the weights in `module` and lay out the phases of `total` steps; restored masks move to their weights.

        Raises:
            ConfigError: a name that matches no parameter, or patterns that contradict each other.
        """
        parameters = dict(module.named_parameters())
        self._shares = shares_by_name(self.sparsity, list(parameters))
        self._weights = [parameters[name] for name in self._shares]
        self.phases = Phases(total, self.trim_every, self.cut, active=True)
        complete = self._shares.keys() <= self._masks.keys()
        self._masks = {name: self._masks[name].to(parameters[name]) for name in self._shares} if complete else {}

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Trim where a trimming step has passed since the call before; else, after the first phase, keep the support.

        Called with the number of the step just taken, from 0; a number may come twice or be left out.
        """
        assert self.phases is not None
        first = step if self._done is None else self._done
        self._done = step + 1
        if not self._weights or self.phases.at(step) == "dense":
            return
        if not self._masks or any(map(self.phases.trims, range(first, step + 1))):
            self._masks = {
                name: keep_largest(weight, self.phases.kept(weight.numel(), share, step))
                for (name, share), weight in zip(self._shares.items(), self._weights, strict=True)
            }
        torch._foreach_mul_(self._weights, list(self._masks.values()))

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Forget the training before; what a checkpoint holds is restored afterwards."""
        if stage == "fit":
            self._detach()
            self._masks, self._done = {}, None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Attach to the module and follow its optimisers' steps, unless it calls `after_step` itself."""
        self.attach(pl_module, self._total(trainer, pl_module))
        if isinstance(pl_module, SequenceClassifier):
            return
        followed = [o for o in trainer.optimizers if _trains(o, pl_module)]
        if not followed:
            raise ConfigError(
                "the three phases follow the optimisers of configure_optimizers, got none of torch with parameters of "
                f"{type(pl_module).__name__}; return it there"
            )
        if self._done is None:
            self._done = trainer.global_step
        batches = self.total_steps is None and not pl_module.automatic_optimization and trainer.max_steps == -1

        def stepped(*_: Any) -> None:
            self.after_step(trainer.fit_loop.total_batch_idx if batches else self._done or 0)

        self._hooks = [optimizer.register_step_post_hook(stepped) for optimizer in followed]

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say so where a weight has more non-zeros than wanted, as after a training that ended early."""
        for (name, share), weight in zip(self._shares.items(), self._weights, strict=True):
            kept, nonzeros = kept_entries(weight.numel(), share), int(torch.count_nonzero(weight))
            if nonzeros > kept:
                assert self.phases is not None
                warnings.warn(
                    f"{name} was to keep {kept} of {weight.numel()} entries, got {nonzeros} after {self._done or 0} of "
                    f"{self.phases.total} steps; set total_steps to the steps that the training takes",
                    EdgesearchWarning,
                    stacklevel=2,
                )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave the optimisers as they were."""
        self._detach()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the optimisers as they were."""
        self._detach()

    def state_dict(self) -> dict[str, Any]:
        """`masks`, by parameter name, 1 where an entry is kept, none in the first phase; `steps`, how many are done."""
        return {"masks": self._masks, "steps": self._done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them. Version 0.1 wrote the masks alone, by name within the classifier."""
        if "masks" not in state_dict:
            state_dict = {"masks": {f"model.{name}": mask for name, mask in state_dict.items()}, "steps": None}
        self._masks, self._done = state_dict["masks"], state_dict["steps"]

    def _detach(self) -> None:
        while self._hooks:
            self._hooks.pop().remove()

    def _total(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> int:
        if self.total_steps is not None:
            return self.total_steps
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        total = trainer.estimated_stepping_batches
        if isinstance(pl_module, SequenceClassifier):
            total = pl_module.steps_per_epoch * (trainer.max_epochs or 0)
        elif any(isinstance(c, GradientAccumulationScheduler) and c.epochs != [0] for c in callbacks):
            total = math.inf  # (the trainer counts as if its first factor stayed)
        if total < 1 or not math.isfinite(total):  # (-1: an endless loader without max_steps)
            raise ConfigError(
                "the three phases need the number of optimiser steps, which the trainer does not know, got "
                "total_steps=None; set total_steps, or max_steps or max_epochs of the trainer"
            )
        return int(total)


def _trains(optimizer: Any, module: nn.Module) -> bool:
    """Tell torch's optimisers of parameters of `module` from others and from Lightning's stand-in for none."""
    own = set(map(id, module.parameters()))
    groups = optimizer.param_groups if isinstance(optimizer, torch.optim.Optimizer) else []
    return any(id(parameter) in own for group in groups for parameter in group["params"])


def shares_by_name(sparsity: Mapping[str, float], names: list[str]) -> dict[str, float]:
    """Return the sparsity of each parameter of `names` that is to be cut, in their order.

    Args:
        sparsity: by name or shell pattern; a name goes before the patterns that match it.
        names: every parameter of the module.

    Raises:
        ConfigError: a key that matches nothing, or two patterns with different values for one parameter.
    """
    chosen = {name: name for name in names if name in sparsity}
    for key in (key for key in sparsity if key not in chosen):
        matched = [name for name in names if fnmatchcase(name, key)]
        if not matched:
            nearest = difflib.get_close_matches(key, names, cutoff=0.0)
            raise ConfigError(
                f"sparsity must name parameters of the module, got {key!r}, which matches none; "
                f"the nearest are {', '.join(nearest) or 'none: it has no parameters'}"
            )
        for name in matched:
            other = chosen.setdefault(name, key)
            if other != name and sparsity[other] != sparsity[key]:
                raise ConfigError(
                    f"a parameter must have one sparsity, got {sparsity[other]:g} by {other!r} and {sparsity[key]:g} "
                    f'by {key!r} for {name}; add "{name}": {sparsity[key]:g}'
                )
    return {name: sparsity[chosen[name]] for name in names if name in chosen and sparsity[chosen[name]] > 0}
