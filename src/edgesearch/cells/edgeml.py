"""Saved models of Microsoft EdgeML's FastCells: folders of .npy files, read and written without pickle.

There each gate has its own matrix file; here the gates of a cell lie side by side in one matrix. The file names and
equations are those of EdgeML's PyTorch FastCells (Kusupati et al., NeurIPS 2018).
"""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from edgesearch.atomic import atomic_file
from edgesearch.cells.cell import RNNCell
from edgesearch.cells.classifier import Classifier
from edgesearch.cells.nonlinear import Function
from edgesearch.cells.rnn import RNNS
from edgesearch.cells.spec import KINDS, CellKind
from edgesearch.errors import ConfigError, EdgesearchWarning, ModelFileError
from edgesearch.untrusted.arrays import SMALL, Array, read_arrays
from edgesearch.untrusted.files import DamagedError

_NAMES = (
    {f"{letter}{suffix}" for letter in "WU" for suffix in ("", "1", "2", "3", "4")}
    | {name for kind in KINDS.values() for name in (*kind.biases, *(scalar for scalar, _ in kind.scalars))}
    | {"FC", "FCbias", "mean", "std"}
)
_KEPT = 1e-6  # of a deviation
_WIDEST = 1 << 16  # units, channels or classes
_LONGEST = 1 << 23  # values of a row: what a file of float64 may hold
_KINDS = (np.float16, np.float32, np.float64)


def load_edgeml(
    folder: str | Path,
    cell: str,
    gate_nonlinearity: str | Function | None = "sigmoid",
    update_nonlinearity: str | Function = "tanh",
) -> Classifier:
    """Return the classifier on sequences (T, B, D) whose files lie in `folder`.

    Args:
        folder: holds the .npy files; W and U are full or low rank independently, as their files say.
        cell: fastrnn, fastgrnn, ugrnn, gru or lstm; the files do not tell.
        gate_nonlinearity: the gate's nonlinearity at training time; ignored for fastrnn.
        update_nonlinearity: the candidate's.

    `mean.npy` and `std.npy` (T * D each), if present, become `input_mean` and `input_std` of the classifier as
    tensors, float64 where the files are; as in the reference the caller normalises, the classifier does not. The model
    of a `Quantizer` does, and takes raw frames.

    Raises:
        ModelFileError: a file is missing, damaged, needs pickle or does not fit the others.
    """
    path = Path(folder)
    if cell not in KINDS:
        raise ModelFileError(f"cell must be one of {', '.join(KINDS)}, got {cell}; see the folder's origin")
    if not path.is_dir():
        raise ModelFileError(f"an EdgeML model is a folder of .npy files, got {path}, which is none; check the path")
    try:
        model = _assemble(path, cell, gate_nonlinearity, update_nonlinearity)
    except (ConfigError, RuntimeError, ValueError, IndexError) as error:
        raise ModelFileError(f"the files of {path} do not fit together: {' '.join(str(error).split())}") from error
    if (path / "mean.npy").is_file() or (path / "std.npy").is_file():
        model.input_mean = torch.from_numpy(_read(path, "mean").reshape(-1))
        model.input_std = torch.from_numpy(_read(path, "std").reshape(-1))
    return model


def _assemble(path: Path, cell: str, gate: str | Function | None, update: str | Function) -> Classifier:
    kind = KINDS[cell]
    state = _matrix(path, kind, "W") | _matrix(path, kind, "U")
    state |= {name: _read(path, name).reshape(-1) for name in kind.biases}
    state |= {name: _read(path, name).reshape(1, 1) for name, _ in kind.scalars}
    FC, FCbias = _read(path, "FC"), _read(path, "FCbias").reshape(-1)
    first, second = (state[letter] if letter in state else state[f"{letter}1"] for letter in "WU")
    _check_shapes(path, kind, state, FC, FCbias)
    options: dict[str, Any] = {"reset_after": False} if cell == "gru" else {}
    rnn = RNNS[cell](
        first.shape[0],
        second.shape[0],
        wRank=first.shape[1] if "W1" in state else None,
        uRank=second.shape[1] if "U1" in state else None,
        gate_nonlinearity=gate,
        update_nonlinearity=update,
        **options,
    )
    model = Classifier(rnn, FCbias.size).to(torch.from_numpy(FC).dtype)
    named = {f"rnn.cells.0.{name}": value for name, value in state.items()} | {"FC": FC, "FCbias": FCbias}
    model.load_state_dict({name: torch.from_numpy(value) for name, value in named.items()})
    return model


def _check_shapes(path: Path, kind: CellKind, state: Mapping[str, Array], FC: Array, FCbias: Array) -> None:
    """What is built is as large as two of these shapes say, so all must agree before."""
    if any(array.ndim != 2 for name, array in state.items() if name not in kind.biases) or FC.ndim != 2:
        raise ModelFileError(f"the matrices of {path} must have two dimensions, got other ones; save them again")
    hidden, classes = FC.shape
    wanted: dict[str, tuple[int, ...]] = dict.fromkeys(kind.biases, (hidden,))
    wanted["FCbias"] = (classes,)
    for letter in "WU":
        rows = hidden if letter == "U" else state.get("W", state.get("W1", FC)).shape[0]
        if letter in state:
            wanted[letter] = (rows, kind.blocks * hidden)
        else:
            rank = state[f"{letter}1"].shape[1]
            wanted |= {f"{letter}1": (rows, rank), f"{letter}2": (rank, kind.blocks * hidden)}
    found = {**state, "FCbias": FCbias}
    for name, shape in wanted.items():
        if found[name].shape != shape:
            raise ModelFileError(
                f"the files of {path} do not fit together: {name}, gates side by side, must have the shape {shape} by "
                f"FC {FC.shape}, got {found[name].shape}; take all files of one model"
            )


def save_edgeml(
    model: Classifier, folder: str | Path, mean: npt.ArrayLike | None = None, std: npt.ArrayLike | None = None
) -> None:
    """Write the files of a classifier, and `mean` and `std` (T * D each) beside them if given or loaded with it.

    All are float32; `mean` and `std` are float64 where 32 bits would lose them, as of a channel of epoch seconds.
    Files of another model of the format in the folder are removed first, so that none of them is taken for this one's.

    Raises:
        ModelFileError: the model has more than one layer or direction, or is a GRU that resets after the product.
        ValueError: one of `mean` and `std` without the other.
    """
    if (mean is None) != (std is None):
        raise ValueError("mean and std belong together, got one of them; give both or none")
    files = _float_files(model)
    if mean is None and model.input_mean is not None and model.input_std is not None:
        mean, std = model.input_mean.cpu().numpy(), model.input_std.cpu().numpy()
    files = {name: array.astype(np.float32) for name, array in files.items()}
    if mean is not None and std is not None:
        files |= _statistics(np.asarray(mean), np.asarray(std))
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    for name in _NAMES - files.keys():
        (path / f"{name}.npy").unlink(missing_ok=True)
    for name, array in files.items():
        _write(path, name, array)


def _statistics(mean: Array, std: Array) -> dict[str, Array]:
    """Mean and std in float32, or in float64 where 32 bits do not keep them."""
    wide = {"mean": mean.astype(np.float64), "std": std.astype(np.float64)}
    with np.errstate(over="ignore"):
        narrow = {name: array.astype(np.float32) for name, array in wide.items()}
    kept = all((np.abs(narrow[name] - array) <= _KEPT * wide["std"]).all() for name, array in wide.items())
    return narrow if kept else wide


def save_edgeml_bytes(model: Classifier, folder: str | Path, largest: int = 127, scalar_scale: int = 1000) -> None:
    """Write the reference project's quantised files, q<name>.npy and the three scales, into `folder`.

    Matrices and biases share one whole-numbered scale, FC and FCbias another; values beyond `largest` are held to it,
    so that no sign is lost. Scales and products are float32, as the reference computes them.

    Args:
        model: a classifier of one layer.
        folder: where to; files of another model of the format in it are removed.
        largest: m; integers are -(m + 1) to m, int8 up to 127, int16 up to 32767, else int32.
        scalar_scale: what the sigmoids of the scalars are multiplied by; they are int32.

    Raises:
        ModelFileError: as `save_edgeml`, or weights that are all zero and have no scale.
        ConfigError: `largest` or `scalar_scale` is not positive, or gives integers beyond 32 bits.
    """
    for name, value in (("largest", largest), ("scalar_scale", scalar_scale)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}; leave export.{name} out")
    files = _byte_files(model, largest, scalar_scale)
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    for name in _NAMES - {name.removeprefix("q") for name in files}:
        (path / f"q{name}.npy").unlink(missing_ok=True)
    for name, array in files.items():
        _write(path, name, array)


def _byte_files(model: Classifier, largest: int, scalar_scale: int) -> dict[str, Any]:
    """What `save_edgeml_bytes` writes, by name."""
    floats = {name: array.astype(np.float32) for name, array in _float_files(model).items()}
    kind = cast(RNNCell, model.rnn.cells[0]).kind
    head = {"FC", "FCbias"}
    scalars = {name for name, _ in kind.scalars}
    parameters = floats.keys() - scalars - head
    parameter_scale = np.round(_byte_scale(floats, parameters, largest))
    if parameter_scale == 0:
        warnings.warn(
            f"weights beyond {2 * largest + 1} have a scale of 0 and are all quantised to 0; set export.largest=32767",
            EdgesearchWarning,
            stacklevel=3,
        )
    head_scale = _byte_scale(floats, head, largest)
    width = np.int8 if largest <= 127 else np.int16 if largest <= 32767 else np.int32
    files = {name: _integers(_held(parameter_scale * floats[name], largest), width, "largest") for name in parameters}
    files |= {name: _integers(_held(head_scale * floats[name], largest), width, "largest") for name in head}
    with np.errstate(over="ignore"):
        squashed = {name: 1.0 / (1.0 + np.exp(-floats[name])) for name in scalars}
    files |= {name: _integers(np.round(scalar_scale * squashed[name]), np.int32, "scalar_scale") for name in scalars}
    return {f"q{name}": integers for name, integers in files.items()} | {
        "paramScaleFactor": parameter_scale.astype(np.int32),
        "classifierScaleFactor": head_scale,
        "scalarScaleFactor": scalar_scale,
    }


def _byte_scale(floats: Mapping[str, Array], names: Iterable[str], largest: int) -> np.floating[Any]:
    """What takes the largest magnitude of these arrays to largest + 1/2."""
    limit = np.max([np.max(np.abs(floats[name])) for name in names])
    if limit == 0:
        raise ModelFileError(f"{', '.join(sorted(names))} must not all be zero, got nothing else; train the model")
    scale: np.floating[Any] = (2.0 * largest + 1.0) / (2.0 * limit)
    return scale


def _held(products: Array, largest: int) -> Array:
    """Products rounded and held to -(largest + 1) .. largest."""
    rounded = np.round(products)
    rounded[rounded > largest] = largest
    rounded[rounded < -largest] = -(largest + 1)
    return rounded


def _integers(rounded: Array, width: type[np.signedinteger[Any]], key: str) -> Array:
    most = float(rounded.max())
    if most > np.iinfo(width).max:
        raise ConfigError(f"{key} must give integers of 32 bits, got {most:.0f}; set export.{key}={2**30}")
    return rounded.astype(width)


def _float_files(model: Classifier) -> dict[str, Array]:
    """Every array of a classifier by its name in the format."""
    cells = list(model.rnn.cells)
    if len(cells) != 1:
        raise ModelFileError(
            f"the EdgeML format holds one layer in one direction, got {len(cells)}; set cell.num_layers=1"
        )
    cell = cells[0]
    assert isinstance(cell, RNNCell)
    if cell.spec.reset_after:
        raise ModelFileError(
            "an EdgeML GRU resets before the product, got reset_after=True; set cell.reset_after=false"
        )
    arrays = {name: p.detach().cpu().numpy() for name, p in cell.named_parameters()}
    files = {name: arrays[name].reshape(1, -1) for name in cell.kind.biases}
    files |= {name: arrays[name].reshape(1, 1) for name, _ in cell.kind.scalars}
    files |= _gate_files(cell.kind, "W", arrays) | _gate_files(cell.kind, "U", arrays)
    files |= {"FC": model.FC.detach().cpu().numpy(), "FCbias": model.FCbias.detach().cpu().numpy().reshape(1, -1)}
    return files


def _write(path: Path, name: str, array: Any) -> None:
    with atomic_file(path / f"{name}.npy") as file:
        np.save(file, array, allow_pickle=False)


def _matrix(path: Path, kind: CellKind, name: str) -> dict[str, Array]:
    """Return {name: full} or {name1: first factor, name2: second factors side by side}."""
    if kind.blocks == 1:
        if (path / f"{name}.npy").is_file():
            if (path / f"{name}1.npy").is_file():
                raise ModelFileError(
                    f"{path} must hold {name}.npy or {name}1.npy and {name}2.npy, got both; remove one"
                )
            return {name: _read(path, name)}
        return {f"{name}{k}": _read(path, f"{name}{k}") for k in (1, 2)}
    gates = [_read(path, f"{name}{k + 1}") for k in range(kind.blocks)]
    if len({gate.shape for gate in gates}) > 1:
        raise ModelFileError(f"{path}/{name}1..{kind.blocks}.npy must have one shape, got {[g.shape for g in gates]}")
    side_by_side = np.concatenate(gates, axis=1)
    if (path / f"{name}.npy").is_file():
        return {f"{name}1": _read(path, name), f"{name}2": side_by_side}
    return {name: side_by_side}


def _gate_files(kind: CellKind, name: str, arrays: dict[str, Array]) -> dict[str, Array]:
    low_rank = f"{name}1" in arrays
    if kind.blocks == 1:
        names = (f"{name}1", f"{name}2") if low_rank else (name,)
        return {n: arrays[n] for n in names}
    gates = np.split(arrays[f"{name}2" if low_rank else name], kind.blocks, axis=1)
    shared = {name: arrays[f"{name}1"]} if low_rank else {}
    return shared | {f"{name}{k + 1}": gate for k, gate in enumerate(gates)}


def _read(path: Path, name: str) -> Array:
    file = path / f"{name}.npy"
    try:
        array = read_arrays(file, SMALL)
        if isinstance(array, dict):
            raise DamagedError("it is an archive")
    except FileNotFoundError as error:
        raise ModelFileError(
            f"an EdgeML folder of this cell holds {name}.npy, got none in {path}; check cell and folder"
        ) from error
    except (DamagedError, OSError) as error:
        raise ModelFileError(f"{file} must be a plain .npy array ({error}); save it again without pickle") from error
    if array.ndim > 2 or array.dtype.type not in _KINDS or not np.isfinite(array).all():
        raise ModelFileError(
            f"{file} must hold finite floats of 16 to 64 bits in at most 2 dimensions, got {str(array.dtype)[:40]} "
            f"{array.shape}; save it again"
        )
    widest = _LONGEST if name in ("mean", "std") else _WIDEST
    if not all(1 <= side <= widest for side in array.shape):
        raise ModelFileError(f"{file} must have sides of 1 to {widest}, got {array.shape}; save it again")
    return array.astype(array.dtype.newbyteorder("="))
