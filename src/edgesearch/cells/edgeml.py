"""Saved models of Microsoft EdgeML's FastCells: folders of .npy files, read and written without pickle.

There each gate has its own matrix file; here the gates of a cell lie side by side in one matrix. The file names and
equations are those of EdgeML's PyTorch FastCells (Kusupati et al., NeurIPS 2018).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from edgesearch.cells.cell import RNNCell
from edgesearch.cells.classifier import Classifier
from edgesearch.cells.nonlinear import Function
from edgesearch.cells.rnn import RNNS
from edgesearch.cells.spec import KINDS, CellKind
from edgesearch.errors import ConfigError, ModelFileError

Array = npt.NDArray[Any]

_NAMES = (
    {f"{letter}{suffix}" for letter in "WU" for suffix in ("", "1", "2", "3", "4")}
    | {name for kind in KINDS.values() for name in (*kind.biases, *(scalar for scalar, _ in kind.scalars))}
    | {"FC", "FCbias", "mean", "std"}
)


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
    tensors; as in the reference the caller normalises, the classifier does not.

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


def save_edgeml(
    model: Classifier, folder: str | Path, mean: npt.ArrayLike | None = None, std: npt.ArrayLike | None = None
) -> None:
    """Write the files of a classifier, and `mean` and `std` (T * D each) beside them if given or loaded with it.

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
    if mean is not None and std is not None:
        files |= {"mean": np.asarray(mean), "std": np.asarray(std)}
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    for name in _NAMES - files.keys():
        (path / f"{name}.npy").unlink(missing_ok=True)
    for name, array in files.items():
        _write(path, name, array.astype(np.float32))


def save_edgeml_bytes(model: Classifier, folder: str | Path, largest: int = 127) -> None:
    """Write the reference project's quantised files, q<name>.npy and the three scales, into `folder`.

    Args:
        model: a classifier of one layer.
        folder: where to.
        largest: m; integers are int8 up to 127, int16 up to 32767, else int32.

    Raises:
        ModelFileError: as `save_edgeml`.
    """
    files = _float_files(model)
    kind = cast(RNNCell, model.rnn.cells[0]).kind
    scalars, head = {name for name, _ in kind.scalars}, {"FC", "FCbias"}
    parameters = files.keys() - scalars - head
    width = np.int8 if largest <= 127 else np.int16 if largest <= 32767 else np.int32

    def scale(names: Iterable[str]) -> float:
        return (2 * largest + 1) / (2 * max(float(np.abs(files[name]).max()) for name in names))

    parameter_scale, head_scale = float(np.round(scale(parameters))), scale(head)
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    for name, array in files.items():
        if name in scalars:
            _write(path, f"q{name}", np.round(1000.0 / (1.0 + np.exp(-array.astype(np.float64)))).astype(np.int32))
        else:
            by = parameter_scale if name in parameters else head_scale
            _write(path, f"q{name}", np.round(array.astype(np.float64) * by).astype(width))
    for name, value in (("param", parameter_scale), ("classifier", head_scale), ("scalar", 1000.0)):
        _write(path, f"{name}ScaleFactor", np.array(value, np.float32))


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
    partial = path / f".{name}.partial"
    with partial.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    partial.replace(path / f"{name}.npy")


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
        array: Array = np.load(file, allow_pickle=False)
    except FileNotFoundError as error:
        raise ModelFileError(
            f"an EdgeML folder of this cell holds {name}.npy, got none in {path}; check cell and folder"
        ) from error
    except (ValueError, EOFError, OSError) as error:
        raise ModelFileError(f"{file} must be a plain .npy array ({error}); save it again without pickle") from error
    if array.ndim > 2 or not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
        raise ModelFileError(f"{file} must hold finite floats in at most 2 dimensions, got {array.dtype} {array.shape}")
    return array.astype(array.dtype.newbyteorder("="))
