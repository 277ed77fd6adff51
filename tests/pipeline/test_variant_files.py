"""quantization.yml and pruning.yml of strangers: values, or one line; nothing is resolved, expanded or allocated."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgesearch.cells.classifier import build_classifier, classifier_spec
from edgesearch.compress.structure import Structure, pruned_spec, pruned_weights
from edgesearch.config import load_config
from edgesearch.errors import ConfigError, EdgesearchError, ModelFileError
from edgesearch.pipeline.variant import read_structure, read_widths
from tests.conftest import composed

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
BROKEN = {
    "empty": b"",
    "a list": b"- 1\n- 2\n",
    "a number": b"3\n",
    "no mapping": b"bits: [1]\nkept: 3\n",
    "nothing in it": b"bits: {}\nkept: {}\n",
    "wrong types": b"bits: {U: eight}\nkept: {hidden: all}\n",
    "true is no width": b"bits: {U: true}\nkept: {hidden: [true]}\n",
    "huge": b"bits: {U: " + b"9" * 5000 + b"}\nkept: {hidden: [" + b"9" * 5000 + b"]}\n",
    "negative": b"bits: {U: -4}\nkept: {hidden: [-0.5]}\n",
    "a bomb": BOMB.encode(),
    "an alias": b"x: &x {U: 4, hidden: [1]}\nbits: *x\nkept: *x\n",
    "an interpolation": b"bits: {U: '${oc.env:HOME}'}\nkept: {hidden: '${oc.env:HOME}'}\n",
    "a whole interpolation": b"bits: ${oc.env:HOME}\nkept: ${oc.env:HOME}\n",
    "an object": b"bits: !!python/object/apply:os.system [id]\nkept: !!python/object/apply:os.system [id]\n",
    "a date that is none": b"bits: {U: 2001-99-99}\nkept: {hidden: [2001-99-99]}\n",
    "no UTF-8": b"bits: {U: \xff\xfe}\n",
    "UTF-16": "bits: {U: 4}".encode("utf-16"),
    "NUL": b"bits: {U: 4\0}",
    "deep": b"bits: " + b"[" * 5000,
    "deep and closed": b"bits: " + b"[" * 500 + b"]" * 500,
    "unhashable": b"? {a: 1}\n: 2\n",
    "a key twice and a tab": b"bits:\n\t- 1\n",
    "long": b"bits:\n" + b"  x: [1]\n" * 200_000,
    "two documents": b"bits: {U: 4}\n---\nbits: {U: 4}\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_neither_is_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/a/secret")
    path = tmp_path / "some.yml"
    path.write_bytes(BROKEN[name])
    for read in (read_widths, read_structure):
        started = time.monotonic()
        with pytest.raises(ModelFileError) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)
        assert len(str(caught.value)) < 400
        assert time.monotonic() - started < 20


def test_what_is_no_file_is_one_line(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (tmp_path, fifo, Path("/dev/zero"), tmp_path / "absent.yml", tmp_path / ("x" * 300), fifo / "below"):
        for read in (read_widths, read_structure):
            with pytest.raises(ModelFileError, match=r"must be what task=\w+ wrote, got .*; run task=\w+$"):
                read(path)


def check_line(error: EdgesearchError) -> None:
    assert "\n" not in str(error)


scalars = st.none() | st.booleans() | st.integers(-9, 99) | st.floats() | st.text(max_size=5)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(("bits", "kept", "hidden", "K1", "U", "")), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees)
def test_any_tree_gives_values_or_one_line(tree: Any, tmp_path: Path) -> None:
    path = tmp_path / "tree.yml"
    path.write_text(yaml.safe_dump({"bits": tree, "kept": tree}), encoding="utf-8")
    for read in (read_widths, read_structure):
        try:
            found = read(path)
        except ModelFileError as error:
            check_line(error)
        else:
            values = found.kept.values() if isinstance(found, Structure) else [found.values()]
            assert all(type(number) is int for numbers in values for number in numbers)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60))
def test_any_bytes_give_values_or_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bytes.yml"
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        read_widths(path)
    assert "\n" not in str(caught.value)


@settings(deadline=None, max_examples=80)
@given(
    cell=st.sampled_from(("fastgrnn", "gru", "lenet5", "dscnn")),
    kept=st.dictionaries(
        st.sampled_from(("hidden", "K0", "K1", "K2", "F1", "D1", "nope")),
        st.lists(st.integers(-2, 9) | st.just(10**30), max_size=6).map(tuple),
        max_size=3,
    ),
)
def test_any_pruning_gives_a_smaller_model_or_one_line(cell: str, kept: dict[str, tuple[int, ...]]) -> None:
    config = SMALL[cell]
    spec = classifier_spec(config.cell, config.schedule, steps=8, input_size=8, classes=3)
    weights = dict(build_classifier(spec, "eager").state_dict())
    try:
        smaller = pruned_spec(spec, Structure(kept))
        pruned = pruned_weights(spec, weights, Structure(kept))
    except ConfigError as error:
        check_line(error)
    else:
        build_classifier(smaller, "eager").load_state_dict(pruned)


SMALL = {cell: composed(f"cell={cell}", "cell.hidden_size=6") for cell in ("fastgrnn", "gru")} | {
    cell: composed(f"cell={cell}", "cell.hidden_size=6", "cell.channels=5") for cell in ("lenet5", "dscnn")
}

VALUES = ("null", "3", "-1", "1e400", ".nan", "[]", "{}", "x", "${seed}", "${oc.env:HOME}", "9" * 5000)
STORED = sorted((Path(__file__).parents[1] / "fixtures/v0_1").rglob("config.yaml"))[0].read_text()


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_config_is_a_config_or_one_line(data: st.DataObject, tmp_path: Path) -> None:
    lines = STORED.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        row = data.draw(st.integers(0, len(lines) - 1))
        name = lines[row].partition(":")[0]
        value = data.draw(
            st.sampled_from(
                ("null", "3", "-1", "1e400", ".nan", "[]", "{}", "x", "${seed}", "${oc.env:HOME}", "1" * 5000)
            )
            | st.text(max_size=8).map(repr)
        )
        lines[row] = data.draw(st.sampled_from((f"{name}: {value}", lines[row][1:], "", value)))
    path = tmp_path / "config.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    try:
        load_config(path)
    except EdgesearchError as error:
        check_line(error)
