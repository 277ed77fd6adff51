"""Checkpoints to go on from, which may come from anyone: what Lightning would trust is checked before it sees it."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from edgesearch.cells.checkpoints import read_checkpoint
from edgesearch.errors import ModelFileError
from edgesearch.untrusted.files import DamagedError

VERSION = "pytorch-lightning_version"
_PARTS = {"state_dict": dict, "loops": dict, "callbacks": dict, "optimizer_states": list, "lr_schedulers": list}
_VERSION = re.compile(r"\d{1,6}(\.\d{1,6}){0,3}((a|b|rc|\.post|\.?dev)\d{1,9})?(\+[a-z0-9.]{1,40})?")
_COUNTS = ("ready", "started", "processed", "completed", "_batches_that_stepped")
_MOMENTS = ("exp_avg", "exp_avg_sq")
_DEEPEST = 12  # levels of the loops' counts
# what Lightning, torch and the callbacks raise for states that are not theirs
RESTORING = (
    LookupError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError, MisconfigurationException
)  # fmt: skip


def check_resumable(path: Path, module: nn.Module) -> None:
    """See that a file is a checkpoint of a training of this module.

    Raises:
        ModelFileError: it is not.
    """
    try:
        found = read_checkpoint(path)
        if not {VERSION, "state_dict", "callbacks"} <= found.keys():
            raise ModelFileError(f"{path} is not a training checkpoint; delete it to train from the start")
        _check_parts(found)
        _check_tensors(found["state_dict"], module.state_dict(), "state_dict")
        own_steps = "overflows" in found  # (of a training in fixed point, which has no optimiser of torch)
        _check_optimizers(found["optimizer_states"], [] if own_steps else list(module.parameters()))
        _check_overflows(found.get("overflows", []))
        _check_callbacks(found["callbacks"], module)
    except DamagedError as error:
        raise damaged(path, error) from error


def damaged(path: Path, why: object) -> ModelFileError:
    """Return the error for a checkpoint that Lightning cannot restore."""
    reason = ascii(" ".join(str(why).split())[:200])[1:-1]
    return ModelFileError(f"{path} is damaged ({reason or type(why).__name__}); delete it to train from the start")


def _check_parts(found: Mapping[str, Any]) -> None:
    for name, kind in _PARTS.items():
        if not isinstance(found.get(name), kind):
            raise DamagedError(f"{name} must be a {kind.__name__}, got {type(found.get(name)).__name__}")
    for name in ("epoch", "global_step"):
        if not _is_count(found.get(name)):
            raise DamagedError(f"{name} must be a whole number of at least 0, got {type(found.get(name)).__name__}")
    if found["lr_schedulers"]:
        raise DamagedError("lr_schedulers must be empty, got some")
    if not isinstance(found[VERSION], str) or not _VERSION.fullmatch(found[VERSION]):
        raise DamagedError(f"{VERSION} must be a version such as 2.6.0, got another")
    loops = found["loops"]
    if not isinstance(loops.get("fit_loop"), dict) or not isinstance(loops["fit_loop"].get("epoch_progress"), dict):
        raise DamagedError("loops must hold fit_loop with epoch_progress, got others")
    _check_counts(loops, "loops", _DEEPEST)


def _check_counts(found: Any, where: str, levels: int) -> None:
    """What the loops keep is how often something was done, and whether it was the last time."""
    if isinstance(found, dict) and levels and not where.endswith(_COUNTS):
        for name, inner in found.items():
            _check_counts(inner, f"{where[-100:]}.{name}", levels - 1)
    elif not isinstance(found, bool) and not _is_count(found):
        raise DamagedError(f"{where} must be a whole number of at least 0, got {type(found).__name__}")


def _is_count(found: Any) -> bool:
    return type(found) is int and 0 <= found < 2**53


def _check_tensors(found: Any, wanted: Mapping[str, Tensor], where: str) -> None:
    if not isinstance(found, dict) or found.keys() != wanted.keys():
        raise DamagedError(f"{where} must have the weights of this model, got others")
    for name, tensor in wanted.items():
        _check_tensor(found[name], tensor, f"{where} {name}")


def _check_tensor(found: Any, wanted: Tensor, where: str) -> None:
    if not isinstance(found, Tensor) or found.shape != wanted.shape or found.dtype != wanted.dtype:
        got = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise DamagedError(f"{where} must be {wanted.dtype} {tuple(wanted.shape)}, got {got}")


def _check_optimizers(found: list[Any], parameters: list[nn.Parameter]) -> None:
    """One Adam over every parameter, or an empty one where the training steps by itself."""
    if not parameters and all(optimizer == {} for optimizer in found):
        return
    if len(found) != 1:
        raise DamagedError(f"optimizer_states must be of one optimiser, got {len(found)}")
    for optimizer in found:
        if not isinstance(optimizer, dict) or not isinstance(optimizer.get("state"), dict):
            raise DamagedError("optimizer_states must hold mappings with state, got others")
        groups = optimizer.get("param_groups")
        if not isinstance(groups, list) or len(groups) != 1 or not isinstance(groups[0], dict):
            raise DamagedError("optimizer_states must have one of param_groups, got others")
        _check_group(groups[0], len(parameters))
        for number, state in optimizer["state"].items():
            if type(number) is not int or not 0 <= number < len(parameters) or not isinstance(state, dict):
                raise DamagedError("optimizer_states.state must have a mapping a weight, got others")
            for name in _MOMENTS:
                _check_tensor(state.get(name), parameters[number], f"{name} of weight {number}")
            step = state.get("step")
            if not isinstance(step, Tensor) or step.numel() != 1:
                raise DamagedError(f"step of weight {number} must be one number, got {type(step).__name__}")


def _check_group(group: dict[str, Any], count: int) -> None:
    if group.get("params") != list(range(count)):
        raise DamagedError(f"params of param_groups must be 0 to {count - 1}, got others")
    betas = group.get("betas")
    pair = list(betas) if isinstance(betas, tuple | list) and len(betas) == 2 else [None]
    numbers: list[Any] = [group.get("lr"), group.get("eps"), group.get("weight_decay"), *pair]
    if not all(type(number) in (int, float) and math.isfinite(number) and number >= 0 for number in numbers):
        raise DamagedError("lr, betas, eps and weight_decay of param_groups must be numbers of at least 0, got others")
    flags = {name: v for name, v in group.items() if name not in ("params", "lr", "betas", "eps", "weight_decay")}
    if not all(v is None or isinstance(v, bool) for v in flags.values()):
        raise DamagedError("param_groups must have true or false for the ways of Adam, got others")
    if [name for name, v in flags.items() if v] not in ([], ["fused"], ["foreach"]):
        raise DamagedError("param_groups must be of a plain Adam, got another")


def _check_overflows(found: Any) -> None:
    if not isinstance(found, list) or not all(isinstance(counts, dict) for counts in found):
        raise DamagedError("overflows must be mappings, got others")
    if not all(isinstance(name, str) and _is_count(count) for counts in found for name, count in counts.items()):
        raise DamagedError("overflows must be counts by name, got others")


def _check_callbacks(found: dict[str, Any], module: nn.Module) -> None:
    if not all(isinstance(state, dict) for state in found.values()):
        raise DamagedError("callbacks must hold mappings, got others")
    _check_masks(found.get("ThreePhase", {}), module)
    best = found.get("BestEpoch")
    if best is None:
        raise DamagedError("callbacks must hold BestEpoch, got none")
    rows, chosen = best.get("history"), best.get("best")
    if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
        raise DamagedError("BestEpoch.history must hold an epoch's numbers a row, got others")
    if not isinstance(chosen, dict) or (chosen and not _is_chosen(chosen, len(rows))):
        raise DamagedError("BestEpoch.best must hold epoch, rank and state_dict, got others")
    if chosen:
        classifier = module.get_submodule("model")
        _check_tensors(chosen.get("state_dict"), classifier.state_dict(), "BestEpoch.best.state_dict")


def _check_masks(state: dict[str, Any], module: nn.Module) -> None:
    steps, masks = state.get("steps"), state.get("masks", state)  # (version 0.1 wrote the masks alone)
    if steps is not None and not _is_count(steps):
        raise DamagedError("ThreePhase.steps must be a whole number of at least 0, got another")
    sizes = {name: weight.shape for name, weight in module.named_parameters()}
    if not isinstance(masks, dict):
        raise DamagedError("ThreePhase.masks must be a mapping, got another")
    for name, mask in masks.items():
        wanted = sizes.get(name, sizes.get(f"model.{name}"))
        if not isinstance(mask, Tensor) or mask.shape != wanted:
            raise DamagedError("ThreePhase.masks must be of the shape of their weights, got others")


def _is_row(row: Any) -> bool:
    numbers = ("epoch", "learning_rate", "train_loss", "val_loss", "val_accuracy", "nonzeros", "seconds")
    if not isinstance(row, dict) or not isinstance(row.get("phase"), str):
        return False
    return (
        row["phase"].isprintable()
        and all(isinstance(name, str) and (type(v) in (int, float) or name == "phase") for name, v in row.items())
        and all(name in row for name in numbers)
    )


def _is_chosen(chosen: dict[str, Any], epochs: int) -> bool:
    epoch, rank = chosen.get("epoch"), chosen.get("rank")
    ranked = isinstance(rank, list) and len(rank) == 2 and all(type(part) in (int, float) for part in rank)
    return type(epoch) is int and 0 <= epoch < epochs and ranked
