"""Programs in files: what comes back computes the same, and what was damaged is refused in one line."""

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesearch.errors import ModelFileError
from edgesearch.numerics.approximation import approximate
from edgesearch.numerics.format import Format
from edgesearch.numerics.interpreter import run
from edgesearch.numerics.operations import Affine, Apply, Combine, Term
from edgesearch.numerics.program import Constant, IntegerProgram, Value
from edgesearch.numerics.storage import load, save

S8, S16 = Format(8, 5), Format(16, 11)
LOADED: list[str] = []


def note() -> None:
    LOADED.append("unpickled")


class Trap:
    """Leaves a trace when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return note, ()


def program() -> IntegerProgram:
    rng = np.random.default_rng(0)
    gate = Format(16, 14)
    table, other = (approximate(f, S16, gate, 1e-2) for f in ("tanh", "sigmoid"))
    constants = {
        "W": Constant(rng.integers(-8, 8, (4, 3)), Format(4, 3)),
        "U": Constant(np.where(rng.random((4, 4)) < 0.3, rng.integers(-2, 2, (4, 4)), 0), Format(2, 1)),
        "b": Constant(rng.integers(-3000, 3000, 4), S16),
        "wide": Constant(np.array([2**31 - 1]), Format(32, 31)),
        "F": Constant(rng.integers(-128, 128, (3, 4)), Format(8, 6)),
    }
    values = {name: Value(4, S16) for name in ("p", "h", "h_next")}
    values |= {"input": Value(3, S8), "k": Value(4, gate), "z": Value(4, gate), "y": Value(3, S16)}
    return IntegerProgram(
        5, values, constants, {"k": table, "z": other}, {"h": "h_next"},
        (Affine("p", (("W", "input"), ("U", "h")), "b"), Apply("k", "p", "tanh"), Apply("z", "p", "sigmoid"),
         Combine("h_next", (Term(("z", "h")), Term(("wide", "k"), negative=True, power=-1), Term(power=-3)),
                 -1.5, 1.0)),
        (Affine("y", (("F", "h"),)),), "y", {"cell": "höher", "data": "toy"},
    )  # fmt: skip


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    save(program(), tmp_path / "program.npz")
    return tmp_path / "program.npz"


def outcome(found: IntegerProgram) -> list[Any]:
    x = np.random.default_rng(1).integers(S8.low, S8.high + 1, (5, 40, 3))
    result = run(found, x)
    states = [(name, state.tolist()) for name, state in result.states.items()]
    saturations = [(name, counts.tolist()) for name, counts in result.saturations.items()]
    return [result.logits.tolist(), result.answers.tolist(), states, saturations]


def refused(path: Path, words: str = "not a program or is damaged") -> None:
    with pytest.raises(ModelFileError, match=words) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert "export it again" in message
    assert path.name in message


def test_what_comes_back_is_the_same(stored: Path) -> None:
    found, original = load(stored), program()
    assert outcome(found) == outcome(original)
    assert found.about == original.about
    assert (found.flash_bytes, found.macs, found.steps) == (original.flash_bytes, original.macs, original.steps)
    for name, table in original.tables.items():
        assert found.tables[name].error == table.error
        assert str(found.tables[name].source) == str(table.source)
    assert {n: (c.integers.tolist(), c.format, c.encoding) for n, c in found.constants.items()} == {
        n: (c.integers.tolist(), c.format, c.encoding) for n, c in original.constants.items()
    }


def test_tables_stay_shared(tmp_path: Path) -> None:
    table = approximate("tanh", S8, S8, 1e-2)
    twice = IntegerProgram(
        1, {"input": Value(1, S8), "a": Value(1, S8), "y": Value(1, S8)}, {}, {"a": table, "y": table}, {},
        (), (Apply("a", "window", "tanh"), Apply("y", "a", "tanh")), "y",
    )  # fmt: skip
    save(twice, tmp_path / "p.npz")
    assert load(tmp_path / "p.npz").flash_bytes == twice.flash_bytes == table.flash_bytes


def test_saving_leaves_one_file_and_replaces_another(stored: Path) -> None:
    stored.write_bytes(b"something else")
    save(program(), stored)
    assert [p.name for p in stored.parent.iterdir()] == ["program.npz"]
    assert outcome(load(stored)) == outcome(program())


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.97, 0.999])
def test_a_truncated_file_is_refused(stored: Path, share: float) -> None:
    data = stored.read_bytes()
    stored.write_bytes(data[: int(share * len(data))])
    refused(stored)


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_an_edited_byte_is_noticed_or_changes_nothing(stored: Path, flip: int) -> None:
    data, expected = stored.read_bytes(), outcome(program())
    edited = range(0, len(data), 3)
    surprises, unnoticed = {}, 0
    for at in edited:
        stored.write_bytes(data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :])
        found = attempted(stored)
        if isinstance(found, IntegerProgram):
            unnoticed += 1
            assert outcome(found) == expected
        elif not isinstance(found, ModelFileError) or "\n" in str(found):
            surprises[at] = repr(found)
    assert surprises == {}
    assert unnoticed < 0.2 * len(edited)


def attempted(path: Path) -> IntegerProgram | Exception:
    try:
        return load(path)
    except Exception as error:  # noqa: BLE001
        return error


def rewritten(path: Path, **changed: Any) -> None:
    """Write the file's arrays again, some of them others, as valid .npy entries with valid checksums."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **(arrays | changed))


def text(value: Any) -> Any:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def test_edited_numbers_are_noticed(stored: Path) -> None:
    with np.load(stored) as file:
        weights = file["constant/W"].copy()
    weights[0, 0] ^= 1
    rewritten(stored, **{"constant/W": weights})
    refused(stored, "changed after it was written")


def test_edited_operations_are_noticed(stored: Path) -> None:
    with np.load(stored) as file:
        found = json.loads(file["program"].tobytes())
    found["steps"] = 4
    rewritten(stored, program=text(found))
    refused(stored, "changed after it was written")


@pytest.mark.parametrize("version", [0, 3, 10**9])
def test_another_version_is_named(stored: Path, version: Any) -> None:
    rewritten(stored, header=text({"version": version, "digest": "0"}))
    refused(stored, f"version 1 or 2, got {version}")


@pytest.mark.parametrize(
    "header", [{}, [], 3, "x", None, {"version": "1", "digest": "0"}, {"version": True, "digest": "0"}, {"version": 1}]
)
def test_another_header_is_refused(stored: Path, header: Any) -> None:
    rewritten(stored, header=text(header))
    refused(stored)


@pytest.mark.parametrize(
    "content",
    [b"", b"steps: 5\nvalues: none\n", b"\x80\x04N.", b"PK\x03\x04", b"\x93NUMPY\x01\x00", bytes(range(256))],
    ids=["empty", "text", "pickle", "zip", "npy", "bytes"],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "program.npz"
    path.write_bytes(content)
    refused(path)


def test_other_archives_and_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", np.arange(5))
    np.save(tmp_path / "a.npy", np.arange(5))
    refused(tmp_path / "a.npz")
    refused(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("header", b"not an array")
        archive.writestr("program", b"not an array")
    refused(tmp_path / "b.npz")


def test_absent_files_and_folders_are_named(tmp_path: Path) -> None:
    (tmp_path / "folder.npz").mkdir()
    for name in ("folder.npz", "absent.npz"):
        with pytest.raises(ModelFileError, match="which is none"):
            load(tmp_path / name)


def test_nothing_is_unpickled(stored: Path, tmp_path: Path) -> None:
    LOADED.clear()
    trap = np.empty(1, object)
    trap[0] = Trap()
    rewritten(stored, **{"constant/W": trap})
    refused(stored)
    whole = tmp_path / "whole.npz"
    np.savez(whole, header=trap, program=trap)
    refused(whole)
    alone = tmp_path / "alone.npz"
    alone.write_bytes(pickle.dumps(Trap()))
    refused(alone)
    assert LOADED == []
    pickle.loads(pickle.dumps(Trap()))  # noqa: S301  (the trap does work)
    assert LOADED == ["unpickled"]
