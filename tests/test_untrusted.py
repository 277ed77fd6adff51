"""Bombs: files that would unpack to, or ask for, far more than they have. One reason each, and next to no memory."""

import os
import pickle
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgesearch.cells.checkpoints import read_checkpoint
from edgesearch.cells.edgeml import load_edgeml
from edgesearch.errors import DataError, EdgesearchError, ModelFileError
from edgesearch.numerics.storage import load
from edgesearch.untrusted.arrays import read_arrays
from edgesearch.untrusted.files import DamagedError
from edgesearch.untrusted.text import read_json, read_text, read_yaml
from tests.conftest import composed

MOST = 80 << 20  # bytes, of which an archive may unpack to 64 MiB


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST
    finally:
        tracemalloc.stop()


def header(shape: Any, kind: str = "<f8", fortran: bool = False) -> bytes:
    """The beginning of a .npy file that claims a shape."""
    text = f"{{'descr': '{kind}', 'fortran_order': {fortran}, 'shape': {shape}, }}"
    text = text.ljust(118 - len(text) % 64 + 64 * (len(text) // 64)) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin-1")


def archive(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as made:
        for name, content in entries.items():
            made.writestr(name, content)
    return path


SHAPES = ["(4000000000,)", "(10**23,)", "(100000000000000000000000,)", "(-5,)", "(2, -3)", "(9223372036854775807, 9)",
          "(50000000000000,)", "('a',)", "(1.5,)", "(True,)", "5", "None"]  # fmt: skip


@pytest.mark.parametrize("packed", [False, True], ids=["npy", "npz"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_header_that_claims_more_than_is_there(shape: str, packed: bool, tmp_path: Path) -> None:
    content = header(shape) + b"\0" * 64
    path = tmp_path / "x.npz"
    if packed:
        archive(path, {"x_train.npy": content})
    else:
        path.write_bytes(content)
    with little_memory(), pytest.raises(DamagedError):
        read_arrays(path)


@pytest.mark.parametrize("kind", ["|O", "<f7", "|V1000000000000", "S99999999999", "<U99999999999", "[('a', '|O')]"])
def test_a_kind_of_number_that_is_none(kind: str, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(header("(2,)", kind) + b"\0" * 64)
    with little_memory(), pytest.raises(DamagedError):
        read_arrays(tmp_path / "x.npy")


@pytest.fixture(scope="module")
def bomb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """256 KB that unpack to 256 MiB."""
    path = tmp_path_factory.mktemp("bomb") / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made, made.open("x_train.npy", "w") as file:
        file.write(header(f"({2**25},)"))
        for _ in range(256):
            file.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    return path


def test_a_bomb_is_not_unpacked(bomb: Path) -> None:
    with little_memory(), pytest.raises(DamagedError, match="it unpacks to 256 MiB, more than 64 MiB"):
        read_arrays(bomb)


READERS: dict[str, Callable[[Path], Any]] = {
    "a program": load,
    "a checkpoint": read_checkpoint,
    "data": lambda path: composed_data(path),
    "an EdgeML model": lambda path: load_edgeml(edgeml_folder(path), cell="fastgrnn"),
}


def composed_data(path: Path) -> Any:
    from edgesearch.data import load_dataset

    return load_dataset(composed("data=npy", f"data.path={path}").data)


def edgeml_folder(path: Path) -> Path:
    (path.parent / "W.npy").write_bytes(path.read_bytes())
    return path.parent


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses_the_bomb(reader: str, bomb: Path) -> None:
    with little_memory(), pytest.raises((EdgesearchError, DamagedError)) as caught:
        READERS[reader](bomb)
    assert "\n" not in str(caught.value)


def test_an_archive_whose_sizes_lie(tmp_path: Path) -> None:
    """The directory says 100 bytes, of which the entry unpacks to many more."""
    path = archive(tmp_path / "x.npz", {"x_train.npy": header("(2000000,)") + bytes(16_000_000)})
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 100)
    path.write_bytes(bytes(content))
    with little_memory(), pytest.raises(DamagedError):
        read_arrays(path)


def test_many_entries_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.npz", {f"{k}.npy": b"" for k in range(10_001)}, zipfile.ZIP_STORED)
    with pytest.raises(DamagedError, match="10001 entries"):
        read_arrays(path)


def test_a_file_of_holes_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(header("(1000000000000,)"))
    os.truncate(path, 8 * 10**12)
    with little_memory(), pytest.raises(DamagedError, match=r"it has 7\.63e\+06 MiB, more than"):
        read_arrays(path)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    for path in (tmp_path / "pipe.npz", Path("/dev/zero"), tmp_path):
        with pytest.raises(DamagedError, match="no regular file"):
            read_arrays(path)


def test_arrays_come_back_as_numpy_wrote_them(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(12.0).reshape(3, 4), "b": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        "c": np.zeros((0, 3)), "d": np.array(5), "e": np.array(["x", "yy"]), "f": np.arange(4, dtype=">i4"),
    }  # fmt: skip
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]
        found = read_arrays(tmp_path / "x.npz")
        assert isinstance(found, dict)
        assert found.keys() == arrays.keys()
        for name, expected in arrays.items():
            np.testing.assert_array_equal(found[name], expected)
            assert found[name].dtype == expected.dtype


@pytest.mark.parametrize("parts", [("x_train", (0, 3, 2)), ("x_train", (3, 0, 2)), ("x_train", (3, 2, 0)),
                                   ("x_test", (0, 3, 2)), ("x_test", (3, 0, 2))])  # fmt: skip
def test_windows_of_nothing_are_refused(parts: tuple[str, tuple[int, ...]], tmp_path: Path) -> None:
    x = {"x_train": np.ones((6, 3, 2)), "x_test": np.ones((6, 3, 2))} | {parts[0]: np.ones(parts[1])}
    y = {name.replace("x", "y", 1): np.arange(len(a)) % 2 for name, a in x.items()}
    np.savez(tmp_path / "x.npz", **x, **y)  # type: ignore[arg-type]
    with pytest.raises(DataError) as caught:
        composed_data(tmp_path / "x.npz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archives_are_packed_by_deflate_alone(method: int, tmp_path: Path) -> None:
    path = archive(tmp_path / "x.npz", {"x_train.npy": header("(2,)") + bytes(16)}, method)
    with pytest.raises(DamagedError, match="another method"):
        read_arrays(path)


@pytest.mark.parametrize(
    "text",
    ["{'descr': (", "{'descr': '''", "(" * 300, "{'descr': '<f8', 'fortran_order': False, 'shape': (20L,), }",
     "\t1\n  2", "{b'descr': '<f8'}", "__import__('os')", "",
     "{'descr': '<f8', 'fortran_order': False, 'shape': (2,) }; x"],
)  # fmt: skip
def test_a_header_is_not_evaluated(text: str, tmp_path: Path) -> None:
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(64)
    (tmp_path / "x.npy").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DamagedError):
            read_arrays(tmp_path / "x.npy")


NO_NAMES = {"V": np.zeros(6, "V4"), "long": np.zeros(6, "U2000"), "complex": np.zeros(6, complex)}


@pytest.mark.parametrize("groups", NO_NAMES.values(), ids=NO_NAMES)
def test_groups_are_names(groups: Any, tmp_path: Path) -> None:
    y = np.arange(6) % 2
    np.savez(
        tmp_path / "x.npz",
        x_train=np.ones((6, 3, 2)),
        y_train=y,
        x_test=np.ones((6, 3, 2)),
        y_test=y,
        group_train=groups,
    )
    with pytest.raises(DataError) as caught:
        composed_data(tmp_path / "x.npz")
    assert "\n" not in str(caught.value)


# ---- checkpoints --------------------------------------------------------------------------------------------------


class Calls:
    """Pickles to a call of anything."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def checkpoint(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.float64), "n": torch.tensor(3)}
    content = {"state_dict": weights, "epoch": 3, "lr": [0.1, None], "shared": weights["a"].t()}
    found = read_checkpoint(checkpoint(tmp_path / "c.ckpt", content))
    assert found["epoch"] == 3
    assert all(torch.equal(found["state_dict"][name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": Calls(os.system, "true")},
        {"state_dict": Calls(bytearray, 8 * 10**9)},
        {"state_dict": Calls(eval, "1")},
        {"state_dict": Calls(torch.zeros, 10**10)},
        [1, 2],
        "text",
    ],
    ids=["system", "bytearray", "eval", "zeros", "list", "text"],
)
def test_a_checkpoint_calls_nothing(content: Any, tmp_path: Path) -> None:
    with little_memory(), pytest.raises(DamagedError) as caught:
        read_checkpoint(checkpoint(tmp_path / "c.ckpt", content))
    assert "\n" not in str(caught.value)


def test_a_tensor_may_not_claim_more_than_the_file_has(tmp_path: Path) -> None:
    small = torch.zeros(1).expand(10**11)
    with little_memory(), pytest.raises(DamagedError, match="which it has not"):
        read_checkpoint(checkpoint(tmp_path / "c.ckpt", {"state_dict": {"a": small}}))
    path = checkpoint(tmp_path / "d.ckpt", {"a": torch.zeros(7, 300)})
    with zipfile.ZipFile(path) as made:
        entries = {entry.filename: made.read(entry) for entry in made.infolist()}
    text = next(name for name in entries if name.endswith("data.pkl"))
    entries[text] = entries[text].replace(struct.pack("<BH", ord("M"), 300), b"J" + struct.pack("<i", 2**30))
    archive(path, entries, zipfile.ZIP_STORED)
    with little_memory(), pytest.raises(DamagedError):
        read_checkpoint(path)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.95])
def test_a_truncated_checkpoint(share: float, tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "c.ckpt", {"state_dict": {"a": torch.zeros(1000)}})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DamagedError):
        read_checkpoint(path)


def test_a_pickle_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "c.ckpt").write_bytes(pickle.dumps({"state_dict": {}}))
    with pytest.raises(DamagedError):
        read_checkpoint(tmp_path / "c.ckpt")


# ---- text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\xff\xfe", "no UTF-8"), (b"[" * 100_000, "nests too deeply"), (b"{", "no JSON"), (b"[NaN]", "NaN is no number"),
     (b"[" + b"9" * 5000 + b"]", "no JSON"), (b"", "no JSON")],
)  # fmt: skip
def test_json_that_is_none(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(DamagedError, match=words):
        read_json(tmp_path / "x.json")


def test_long_text_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * 1001)
    with pytest.raises(DamagedError, match="more than"):
        read_text(tmp_path / "x", 1000)
    assert len(read_text(tmp_path / "x", 1001)) == 1001


def test_the_errors_of_a_program_name_the_file(bomb: Path) -> None:
    with pytest.raises(ModelFileError, match=r"bomb\.npz is not a program or is damaged: it unpacks to 256 MiB"):
        load(bomb)


@pytest.mark.parametrize(
    ("content", "words"),
    [('a: !!int ""', "the tag"), ("a: !!bool x", "the tag"), ("a: !!python/name:os.system", "the tag"),
     ("a: ! x", "the tag"), ("a: " + "1:59" * 400, "a number of 1600"), ("a: 0x" + "f" * 5000, "a number of"),
     ("a: &x 1\nb: *x", "an alias"), ("a: " + "9" * 5000, "a number of 5000"),
     ("a: " + "[" * 30 + "]" * 30, "nesting")],
)  # fmt: skip
def test_yaml_that_is_none(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "x.yml").write_text(content)
    with pytest.raises(DamagedError, match=words):
        read_yaml(tmp_path / "x.yml")
