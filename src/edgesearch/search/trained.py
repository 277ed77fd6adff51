"""What a trial leaves in the storage: a result to read, and the weights."""

import base64
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import safetensors.torch
from optuna.trial import FrozenTrial
from safetensors import SafetensorError
from torch import Tensor

from edgesearch.cells.classifier import AnySpec, build_classifier
from edgesearch.errors import StorageError
from edgesearch.numerics.format import Format
from edgesearch.search.programs import Point
from edgesearch.search.rows import check_result
from edgesearch.search.space import Params
from edgesearch.training.callbacks import Row
from edgesearch.training.device import Ran

RESULT, WEIGHTS = "result", "edgesearch:weights"
_LARGEST = 256 << 20  # bytes of a model's weights


@dataclass(frozen=True)
class Trained:
    """A finished training of a study.

    Attributes:
        number: of the trial.
        params: what the sampler drew.
        identity: of the training; two trials that mean the same have the same.
        points: its integer programs.
        float_accuracy: the float model's score on validation data, by `train.metric`.
        epoch: the chosen one, from 0.
        curve: of each epoch the phase, the validation score and the training loss.
        seconds: training and measuring.
        formats: of values and constants, if it was trained in the program's numbers.
        overflows: of a training in fixed point, how many results were saturated, by place.
        ran: the device and backend that trained; None where an earlier version did.
    """

    number: int
    params: Params
    identity: str
    points: tuple[Point, ...]
    float_accuracy: float
    epoch: int
    curve: tuple[tuple[str, float, float], ...]
    seconds: float
    formats: dict[str, str]
    overflows: dict[str, int] | None
    ran: Ran | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, without what the trial itself knows."""
        found = asdict(self)
        del found["number"], found["params"]
        return found

    @classmethod
    def of(cls, trial: FrozenTrial) -> "Trained":
        """Read it back.

        Raises:
            ModelFileError: it is no result of ours.
        """
        found = check_result(trial, trial.user_attrs.get(RESULT))
        parse_formats(found["formats"])
        found["points"] = tuple(Point(**point) for point in found["points"])
        found["curve"] = tuple(tuple(row) for row in found["curve"])
        found["ran"] = Ran(**found["ran"]) if found.get("ran") else None
        return cls(number=trial.number, params=dict(trial.params), **found)


def curve(history: Sequence[Row], metric: str) -> tuple[tuple[str, float, float], ...]:
    """Return what is kept of a history, to five digits."""
    return tuple(
        (str(row["phase"]), round(float(row[f"val_{metric}"]), 5), round(float(row["train_loss"]), 5))
        for row in history
    )


def pack(weights: dict[str, Tensor]) -> str:
    """Return weights as text for a storage."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    return base64.b85encode(zlib.compress(safetensors.torch.save(tensors))).decode("ascii")


def unpack(trial: FrozenTrial) -> dict[str, Tensor]:
    """Return the weights that a trial left.

    Raises:
        StorageError: there are none, or they are damaged.
    """
    try:
        packed = zlib.decompressobj()
        weights = packed.decompress(base64.b85decode(trial.system_attrs[WEIGHTS]), _LARGEST)
        if packed.unconsumed_tail:
            raise ValueError(f"more than {_LARGEST >> 20} MiB")
        return safetensors.torch.load(weights)
    except (KeyError, ValueError, TypeError, zlib.error, SafetensorError) as error:
        raise StorageError(f"trial {trial.number} must hold its weights, got {error!r}; start another study") from error


def weights_of(trial: FrozenTrial, spec: AnySpec) -> dict[str, Tensor]:
    """Return the weights that a trial left for a model.

    Raises:
        StorageError: there are none, or they are another model's.
    """
    weights = unpack(trial)
    wanted = {name: value.shape for name, value in build_classifier(spec, "eager").state_dict().items()}
    found = {name: value.shape for name, value in weights.items()}
    if found != wanted:
        name = min(name for name in found | wanted if found.get(name) != wanted.get(name))
        raise StorageError(
            f"trial {trial.number} must hold its model's weights, got {name} of {tuple(found.get(name, ()))} for "
            f"{tuple(wanted.get(name, ()))}; start another study"
        )
    return weights


def parse_formats(texts: dict[str, str]) -> dict[str, Format]:
    """Return formats from their texts."""
    return {name: Format.parse(text) for name, text in texts.items()}
