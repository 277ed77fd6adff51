"""`Quantizer`: a trained model in, ranges from data, an integer program out. Usable alone on any supported model."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from edgesearch.atomic import write_text
from edgesearch.cells.classifier import Classifier
from edgesearch.cells.foreign import as_classifier, evaluating
from edgesearch.compress.build import build_graph
from edgesearch.compress.calibrate import Ranges, Widths, choose_formats, choose_tables
from edgesearch.compress.channels import coarse, distant
from edgesearch.compress.executor import Executor
from edgesearch.compress.graph import INPUT, Graph
from edgesearch.compress.mixed import Lowered, lower_widths
from edgesearch.compress.program import compile_program
from edgesearch.compress.saved import NAME, Saved
from edgesearch.config.schema import METRICS, RANGES
from edgesearch.data.scores import Scores
from edgesearch.errors import ConfigError, DataError, EdgesearchWarning, ModelFileError
from edgesearch.numerics.format import Format
from edgesearch.numerics.interpreter import input_integers, run
from edgesearch.numerics.program import IntegerProgram
from edgesearch.untrusted.files import DamagedError

Mode = Literal["calibrate", "test", "off"]
_CHECKED = 4  # batches on which a module is compared with its conversion, where it is not on all of them


class Wrapped(nn.Module):
    """The model in the quantiser's hands: called like the model, on raw sequences in its layout, giving logits."""

    def __init__(self, quantizer: "Quantizer") -> None:
        super().__init__()
        self._quantizer = quantizer

    def forward(self, x: Tensor) -> Tensor:
        """Return logits in the dtype of x."""
        return self._quantizer._forward(x)


class Quantizer:
    """Calibrates a trained model and turns it into an integer program.

    In mode `calibrate`, `model` computes in floats and ranges are taken of everything it is called on. In mode `test`
    it computes in the program's numbers, with formats from the ranges of the folder `load`. In mode `off` it computes
    in floats.

    Args:
        model: one of our classifiers, or a module of one torch.nn.LSTM or GRU and one Linear on its last output (see
            `as_classifier`); what the module gives is compared with what is made of it on every batch in mode
            `calibrate`, else on the first few.
        bits: of weights, 2 to 16, or `mixed`: 8 at first, then lowered one by one by `lower`. 8 if not given.
        mode: `calibrate`, `test` or `off`.
        load: a folder that `save` wrote of the same weights, for mode `test`.
        activation_bits: of the input, gates and states, 8 to 16; 16 if not given.
        range: how a range is chosen: `max`, `percentile` or `error` (least squared error), the default.
        function_error: largest error of an approximated sigmoid or tanh; 0.001 if not given.
        named: bits of single tensors by name; see `IntegerProgram` as printed by `task=show`.

    In mode `test`, what is not given is as it was saved.

    Raises:
        ConfigError: a model that is not supported, or arguments that contradict each other.
        ModelFileError: `load` holds no ranges of this model, or ranges of other weights.

    Warns:
        EdgesearchWarning: a channel of which the program resolves hardly anything, when formats are chosen.
    """

    def __init__(
        self,
        model: nn.Module,
        bits: int | Literal["mixed"] | None = None,
        mode: Mode = "calibrate",
        load: str | Path | None = None,
        *,
        activation_bits: int | None = None,
        range: str | None = None,  # noqa: A002  (what the ranges are chosen by, as in the configuration)
        function_error: float | None = None,
        named: Mapping[str, int] | None = None,
    ) -> None:
        if mode not in ("calibrate", "test", "off"):
            raise ConfigError(f"mode must be one of calibrate, test, off, got {mode}; use mode='calibrate'")
        if (mode == "test") != (load is not None):
            raise ConfigError(f"mode=test reads the ranges that load names, got mode={mode} and load={load}")
        self.classifier = as_classifier(model)
        self._original = None if self.classifier is model else model
        self._checked = 0
        self._told: set[int] = set()
        self.mode = mode
        self.mixed = bits == "mixed"
        weights = 8 if self.mixed else bits
        options = {"weights": weights, "activations": activation_bits, "range": range, "function_error": function_error}
        given = {name: value for name, value in options.items() if value is not None}
        self.widths = _widths(given, named)
        self.ranges = Ranges()
        self._steps: int | None = None
        self._graph: Graph | None = None
        self._executor: Executor | None = None
        self._lowered: Lowered | None = None
        self.model = Wrapped(self)
        if load is not None:
            self._load(Path(load), given, named)

    def _forward(self, x: Tensor) -> Tensor:
        sequences = x.transpose(0, 1) if self.classifier.rnn.batch_first else x
        if sequences.dim() != 3 or sequences.size(2) != self.classifier.rnn.input_size or not len(sequences):
            layout = "(B, T, D)" if self.classifier.rnn.batch_first else "(T, B, D)"
            wanted = f"{layout} with D = {self.classifier.rnn.input_size}"
            raise DataError(f"the model takes sequences {wanted}, got {tuple(x.shape)}; check the data")
        if not bool(torch.isfinite(sequences).all()):
            raise DataError("calibration and input data must be finite, got NaN or infinity; clean the data")
        graph = self._graph_for(len(sequences))
        if self._original is not None and (self.mode == "calibrate" or self._checked < _CHECKED):
            self._check_conversion(self._original, x)
        if self.mode == "test":
            if self._executor is None:
                formats = self.formats
                self._executor = Executor(graph, formats, choose_tables(graph, formats, self.widths.function_error))
            logits = self._executor(sequences)
        else:
            logits = Executor(graph)(sequences, self.ranges if self.mode == "calibrate" else None)
        return torch.Tensor.to(logits, x.dtype)

    def _check_conversion(self, original: nn.Module, x: Tensor) -> None:
        """A module may do more between its layers than its layers tell, and for some sequences only."""
        x = x.to(self.classifier.FC.dtype)
        with torch.no_grad(), evaluating(original):
            theirs, ours = original(x), self.classifier(x)
            same = isinstance(theirs, Tensor) and theirs.shape == ours.shape
            if same and not torch.allclose(theirs, ours, 1e-3, 1e-4):
                # large frames leave few digits to either
                exact = Executor(self.graph)(x.transpose(0, 1) if self.classifier.rnn.batch_first else x)
                lost = float((ours - exact).abs().max())
                same = torch.allclose(theirs.double(), exact, 1e-3, 1e-4 + 10 * lost)
        if not same:
            raise ConfigError(
                "the model computes something else than its Linear on the last output of its LSTM or GRU; build an "
                "edgesearch classifier from its weights"
            )
        self._checked += 1

    def _graph_for(self, steps: int) -> Graph:
        if self._graph is None:
            self._steps, self._graph = steps, build_graph(self.classifier, steps)
        elif steps != self._steps:
            raise ConfigError(f"a program has windows of one length, got {steps} frames after {self._steps}")
        return self._graph

    @property
    def graph(self) -> Graph:
        """The model's operations; known once the length of a window is."""
        if self._graph is None:
            raise ConfigError("the quantiser has not seen any data; call quantizer.model on it in mode=calibrate first")
        return self._graph

    @property
    def formats(self) -> dict[str, Format]:
        """The format of every value and constant."""
        if self.mode == "off":
            raise ConfigError("formats come from ranges, which mode=off does not take; use mode='calibrate'")
        formats = choose_formats(self.graph, self.ranges, self.widths)
        self._tell_of_channels(formats[INPUT])
        return formats

    def _tell_of_channels(self, given: Format) -> None:
        """Warn, once each, of channels of which integers keep hardly anything."""
        frames, unit = self.ranges.frames, self.graph.unit
        if frames is None:
            return
        lost = set(coarse(given, frames, unit)) | set(distant(frames, self.widths.weights) if unit is None else ())
        remedy = "clip it, give its logarithm, or use activation_bits=16"
        if unit is None:
            remedy = "normalise the input, or set input_mean and input_std of an edgesearch classifier"
        for channel in sorted(lost - self._told):
            warnings.warn(
                f"channel {channel} (from 0) has a mean of {frames.mean[channel]:.3g} and a deviation of "
                f"{frames.deviation[channel]:.3g}, of which integers resolve hardly anything; {remedy}",
                EdgesearchWarning,
                stacklevel=3,
            )
        self._told |= lost

    @property
    def program(self) -> IntegerProgram:
        """The integer program."""
        return compile_program(self.graph, self.formats, self.widths.function_error)

    def lower(self, x: Tensor, y: Tensor, loss: float = 0.005, metric: str = "accuracy") -> Lowered:
        """Lower bit widths greedily, per matrix and for all activations, and keep them; for `bits="mixed"`.

        Args:
            x: validation sequences in the model's layout.
            y: their classes (B,).
            loss: how far the validation score may fall, as a fraction.
            metric: what that is: `accuracy`, `balanced_accuracy` or `macro_f1`.

        Raises:
            ConfigError: the quantiser was made for widths that are given, `loss` is negative, or an unknown metric.
            DataError: x and y do not go together.
        """
        if loss < 0:
            raise ConfigError(f"loss must be at least 0, got {loss}; use loss=0.005")
        if metric not in METRICS:
            raise ConfigError(f"metric must be one of {', '.join(METRICS)}, got {metric}; use metric='accuracy'")
        if not self.mixed:
            raise ConfigError(f"widths are lowered for bits=mixed, got bits={self.widths.weights}; use bits='mixed'")
        frames_first = torch.as_tensor(x).transpose(0, 1) if self.classifier.rnn.batch_first else torch.as_tensor(x)
        sequences, labels = frames_first.double().numpy(), torch.as_tensor(y).numpy()
        if sequences.ndim != 3 or labels.shape != sequences.shape[1:2] or not labels.size:
            given = f"{tuple(x.shape)} and {tuple(y.shape)}"
            raise DataError(f"validation data are sequences and as many classes, got {given}; check both")

        def score(program: IntegerProgram) -> float:
            answers = run(program, input_integers(program, sequences)).answers
            return Scores.of(answers, labels, program.classes).score(metric)

        found = lower_widths(self.graph, self.ranges, self.widths, score, loss)
        self.widths, self._executor, self._lowered = found.widths, None, found
        return found

    def save(self, folder: str | Path) -> None:
        """Write quant_info.json, ranges of every value over all batches and steps and the formats chosen.

        After `lower` also quantization.yaml, the accuracy at each width and the widths chosen.
        """
        folder = Path(folder)
        found = {
            "steps": self._steps,
            "sizes": self.graph.sizes,
            "weights": _digest(self.classifier),
            "widths": asdict(self.widths),
            "formats": {name: str(format) for name, format in self.formats.items()},
            "ranges": self.ranges.to_json(),
            "frames": None if self.ranges.frames is None else self.ranges.frames.to_json(),
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / NAME, json.dumps(found))
        if self._lowered is not None:
            self._lowered.save(folder / "quantization.yaml")

    def _load(self, folder: Path, given: Mapping[str, Any], named: Mapping[str, int] | None) -> None:
        path = folder / NAME
        try:
            saved = Saved.read(path)
            saved.check(self._graph_for(saved.steps), self.classifier.rnn.input_size)
        except (OSError, DamagedError) as error:
            reason = (error.strerror or "nothing") if isinstance(error, OSError) else error
            raise ModelFileError(
                f"{path} must be a quantiser's ranges, got {reason}; save them in mode=calibrate"
            ) from error
        digest = _digest(self.classifier)
        if saved.weights not in (None, digest):  # version 0.1 wrote none
            raise ModelFileError(
                f"{path} must hold the ranges of these weights, sha256 {digest[:12]}, got ranges of "
                f"{str(saved.weights)[:12]!r}; load those weights, or calibrate again and save"
            )
        self.ranges = saved.ranges
        self.widths = _widths({**saved.widths, **given}, {**saved.widths["named"], **(named or {})})


def _digest(model: Classifier) -> str:
    """The sha256 of weights and scaling: names, shapes and numbers."""
    tensors: dict[str, Tensor | None] = dict(model.state_dict())
    tensors |= {"input_mean": model.input_mean, "input_std": model.input_std}
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        if tensor is not None:
            found.update(f"{name} {tuple(tensor.shape)}\n".encode())
            found.update(tensor.detach().cpu().double().numpy().tobytes())
    return found.hexdigest()


def _widths(options: Mapping[str, Any], named: Mapping[str, int] | None) -> Widths:
    """Widths with defaults for what is not given.

    Raises:
        ConfigError: a width out of range.
    """
    made = Widths(**{**options, "named": dict(named or {})})
    for name, value, low in (("bits", made.weights, 2), ("activation_bits", made.activations, 8)):
        if not isinstance(value, int) or not low <= value <= 16:
            raise ConfigError(f"{name} must be {low} to 16, got {value}; use {name}=8")
    if made.range not in RANGES:
        raise ConfigError(f"range must be one of {', '.join(RANGES)}, got {made.range}; use range='error'")
    if not isinstance(made.function_error, float | int) or not 0 < made.function_error <= 0.1:
        raise ConfigError(f"function_error must be above 0 and at most 0.1, got {made.function_error}; use 0.001")
    return made
