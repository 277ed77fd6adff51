"""Programs from strangers: none runs code, none ends in a traceback, none is accepted that C would not run."""

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgesearch.errors import ModelFileError
from edgesearch.measure.compiled import compare, variants
from edgesearch.numerics.interpreter import run
from edgesearch.numerics.program import IntegerProgram
from edgesearch.numerics.storage import load
from tests.measure.test_windows import network
from tests.numerics.crafted import Edit, array, both, drop, edited, leaves, opened, put, renamed, written
from tests.numerics.test_storage import program

CODE = (
    'W[1]={0}; __attribute__((constructor)) void f(void) { system("id"); } int q', "a; b", "a\nb", 'a"b', "a*/b",
    "a b", "a.b", "a-b", "$(id)", "`id`", "__import__('os').system('id')", "a']*0+[print(1)]+['", "a//b", "a\\", "a\0b",
    "../x", "<b>", "#define", "ｘ", "é", "", "1a", "a_", "_a", "a__b", "x" * 64, "int", "for", "class", "lambda",
    "None", "template", "restrict", "input", "window", "file", "allow_pickle", "W", "logits ",
)  # fmt: skip
RECURRENT = {
    **{f"constant named {name!r}": renamed("U", name) for name in CODE},
    **{f"result named {name!r}": renamed("k", name) for name in CODE},
    **{f"state named {name!r}": renamed("h", name) for name in CODE},
    **{f"logits named {name!r}": renamed("y", name) for name in CODE},
    **{f"function {name!r}": both(put("tables", 0, "function", value=name), put("step", 1, "function", value=name))
       for name in ("relu", "exp", "system", 'tanh"); //', "", "Tanh")},
    **{f"format {text!r} of {where}": put(*path, value=text)
       for text in ("s0.4", "s33.4", "s99.1", "u32.4", "u17.3", "s16.257", "s16.-999", "s16.12[1,2]", "x16.1", "s16",
                    "", "s16.4\n", "s16.4;", None, 16, ["s16.4"])
       for where, path in (("a value", ("values", "p", 1)), ("a state", ("values", "h", 1)),
                           ("the logits", ("values", "y", 1)), ("a constant", ("constants", "W")))},
    "unsigned constant": put("constants", "b", value="u16.11"),
    "constant outside its format": array("constant/W", lambda a: a + 100),
    "constant of another shape": array("constant/W", lambda a: a.T),
    "constant of no numbers": array("constant/b", lambda a: a[:0]),
    "constant of three dimensions": array("constant/b", lambda a: a.reshape(1, 2, 2)),
    "constant of floats": array("constant/b", lambda a: a.astype(np.float32)),
    "constant of unsigned numbers": array("constant/b", lambda a: a.astype(np.uint16)),
    "constant of truths": array("constant/b", lambda a: a > 0),
    "constant of text": array("constant/b", lambda a: a.astype("U8")),
    "constant of complex numbers": array("constant/b", lambda a: a.astype(complex)),
    "bias of another size": array("constant/b", lambda a: a[:2]),
    "matrix as a bias": put("step", 0, "bias", value="U"),
    "vector as a matrix": put("step", 0, "products", 0, 0, value="b"),
    "state as a matrix": put("step", 0, "products", 0, 0, value="h"),
    "constant as a vector": put("step", 0, "products", 1, 1, value="b"),
    "no products": put("step", 0, "products", value=[]),
    "half a product": put("step", 0, "products", value=[["W"]]),
    "unread constant": put("step", 0, "bias", value=None),
    "unknown operand": put("step", 0, "bias", value="nothing"),
    "operand before it is given": put("step", 0, "products", 1, 1, value="h_next"),
    "head reads the frame": put("head", 0, "products", 0, 1, value="input"),
    "head reads a step": put("head", 0, "products", 0, 1, value="h_next"),
    "step reads the window": put("step", 0, "products", 0, 1, value="window"),
    "result given twice": put("step", 1, "out", value="p"),
    "result is a state": put("step", 0, "out", value="h"),
    "result is a constant": put("step", 0, "out", value="W"),
    "state takes a constant": put("states", "h", value="b"),
    "state takes the logits": put("states", "h", value="y"),
    "state takes itself": put("states", "h", value="h"),
    "state of another size": put("values", "h", 0, value=5),
    "state without a value": put("states", "q", value="h_next"),
    "no states": put("states", value={}),
    "a result that nothing reads": both(
        put("values", "u", value=[4, "s16.11"]),
        lambda content, _: content["step"].append(copy.deepcopy(content["step"][0]) | {"out": "u"})),
    "text of a megabyte": put("about", "cell", value="x" * 2**20),
    "many calls": both(put("steps", value=2**17), lambda content, _: content["step"].extend(
        {"operation": "Combine", "out": f"u{k}", "low": None, "high": None,
         "terms": [{"operands": [f"u{k - 1}" if k else "p"], "negative": False, "power": 0}]} for k in range(400))),
    "five million zeros": array("constant/W", lambda a: np.zeros((2048, 2049), np.int8)),
    "value that nothing gives": put("values", "q", value=[4, "s16.4"]),
    "no input": drop("values", "input"),
    "logits of a step": put("logits", value="h_next"),
    "logits of nothing": put("logits", value="nothing"),
    "apply of another size": put("values", "p", 0, value=2),
    "apply of another format": put("values", "p", 1, value="s16.12"),
    "apply of another function": put("step", 1, "function", value="sigmoid"),
    "apply without a table": drop("table_of", "k"),
    "table of nothing": put("table_of", "q", value=0),
    "table that is not there": put("table_of", "k", value=7),
    "table with a negative number": put("table_of", "k", value=-1),
    **{f"table {name}={value}": put("tables", 0, name, value=value)
       for name, value in (("limit", 0), ("limit", -5), ("limit", 2**20), ("limit", 2**61), ("segment_bits", -1),
                           ("segment_bits", 40), ("segment_bits", 0), ("shifts", []), ("shifts", [-1]),
                           ("shifts", [31]), ("shifts", [1, 2, 3, 4]), ("last", 2**31), ("last", -(2**40)),
                           ("error", float("nan")), ("error", float("inf")), ("error", None), ("error", "small"),
                           ("source", "s17.11"), ("source", "u16.11"), ("to", "s16.17"), ("to", "s16.-1"))},
    "coefficients of 17 bits": array("table/0", lambda a: a.astype(np.int32) * 0 + 2**16),
    "a coefficient of 32768": array("table/0", lambda a: np.where(a == a.max(), 2**15, a.astype(np.int32))),
    "a coefficient whose magnitude has no int64": array(
        "table/0", lambda a: np.where(a == a.max(), -(2**63), a.astype(np.int64))),
    "a product of 33 bits in a table": both(
        put("tables", 0, "segment_bits", value=15), put("tables", 0, "shifts", value=[0, 16]),
        put("tables", 0, "limit", value=2**15), array("table/0", lambda a: np.array([[-30518, 0, 3]], np.int16))),
    "a table without an end": both(
        put("tables", 0, "segment_bits", value=16), put("tables", 0, "limit", value=2**31 + 5),
        array("table/0", lambda a: np.repeat(a[:1], 32770, axis=0))),
    "coefficients of one column": array("table/0", lambda a: a[:, :1]),
    "coefficients of no segment": array("table/0", lambda a: a[:0]),
    "coefficients in a row": array("table/0", lambda a: a.reshape(-1)),
    **{f"steps={steps}": put("steps", value=steps)
       for steps in (0, -1, 2**19 + 1, 2**61, 2**62, 10**30, 1.5, True, "5", None, [5])},
    **{f"a vector of {size}": both(put("values", "input", 0, value=size))
       for size in (0, -3, 2**19 + 1, 2**62, 10**23, 3.0, None, "3")},
    **{f"power={power}": put("step", 3, "terms", 2, "power", value=power)
       for power in (257, -257, 10**9, -(10**9), 2**61, 2**64, 1.0, None, "1")},
    **{f"{side}={value}": put("step", 3, side, value=value)
       for side in ("low", "high") for value in (float("nan"), float("inf"), -float("inf"), 1e300, "1", [1], True)},
    "low above high": put("step", 3, "low", value=1.5),
    "three operands": put("step", 3, "terms", 0, "operands", value=["z", "h", "k"]),
    "matrix in a sum": put("step", 3, "terms", 0, "operands", value=["z", "U"]),
    "operand that does not go round": put("step", 3, "terms", 0, "operands", value=["z", "input"]),
    "no terms": put("step", 3, "terms", value=[]),
    "negative as a number": put("step", 3, "terms", 0, "negative", value=1),
    "sum of too many bits": both(put("constants", "wide", value="s32.200")),
    "fractions far apart": both(put("constants", "b", value="s16.100")),
    "unknown operation": put("step", 0, "operation", value="System"),
    "operation that is none": put("step", 0, "operation", value=["Affine"]),
    "operation of another kind": put("step", 0, "operation", value="Pool"),
    "operation without a kind": drop("step", 0, "operation"),
    "operation with more": put("step", 0, "code", value="id"),
    "operation that is a list": put("step", 0, value=[]),
    "operations in a mapping": put("step", value={}),
    "text of the wrong kind": put("about", value=["a"]),
    "words that are no text": put("about", "cell", value=3),
    "long words": put("about", "cell", value="x" * 200_000),
    "class names of another number": put("class_names", value=["a"]),
    "class names that are numbers": put("class_names", value=[1, 2, 3]),
    "more than is known": put("more", value=1),
    **{f"no {key}": drop(key)
       for key in ("steps", "values", "constants", "tables", "table_of", "states", "step", "head", "logits", "about")},
}  # fmt: skip
GEOMETRY = ("head", 0, "geometry")
CONVOLUTIONAL: dict[str, Edit] = {
    **{f"{name}={value}": put(*GEOMETRY, name, value=value)
       for name, value in (("channels", 0), ("channels", 2), ("channels", 2**40), ("height", 0), ("height", -9),
                           ("height", 10**23), ("width", 8), ("kernel", [0, 3]), ("kernel", [-1, 3]),
                           ("kernel", [3, 99]), ("kernel", [3]), ("stride", [0, 1]), ("stride", [-1, 1]),
                           ("stride", [1, 10**9]), ("padding", [-1, 1]), ("padding", [10**9, 1]),
                           ("padding", [40_000, 1]), ("padding", None),
                           ("padding", [10_000, 10_000]))},
    **{f"groups={groups}": put("head", 2, "groups", value=groups) for groups in (0, -4, 3, 8, 1, None)},
    "filters as a matrix": array("constant/K1", lambda a: a.reshape(4, 9)),
    "filters of another kernel": array("constant/K1", lambda a: a.reshape(4, 1, 9, 1)),
    "bias of another size": array("constant/b1", lambda a: a[:3]),
    "matrix as filters": put("head", 0, "weights", value="F"),
    "vector as filters": put("head", 0, "weights", value="b1"),
    "window as filters": put("head", 0, "weights", value="window"),
    "constant as a map": put("head", 0, "source", value="K1"),
    "low that is no number": put("head", 0, "low", value=float("nan")),
    "pooling by another rule": put("head", 1, "kind", value="mean"),
    "pooling with code": put("head", 1, "kind", value='max"; system("id")'),
    "pooling with padding": put("head", 1, "geometry", "padding", value=[1, 1]),
    "pooling of another size": put("head", 1, "geometry", "stride", value=[1, 1]),
    "window of no frames": put("steps", value=0),
    "window of many frames": put("steps", value=10**6),
    "geometry of another kind": put(*GEOMETRY, value=[1, 2, 3]),
}  # fmt: skip
CASES = [(program, name, edit) for name, edit in RECURRENT.items()]
CASES += [(lambda: network(4, 8), name, edit) for name, edit in CONVOLUTIONAL.items()]


def test_there_are_many() -> None:
    assert len(CASES) >= 206


@pytest.mark.parametrize(("make", "name", "edit"), CASES, ids=[name.replace("\0", "0") for _, name, _ in CASES])
def test_a_crafted_program_is_refused_in_one_line(make: Any, name: str, edit: Edit, tmp_path: Path) -> None:
    path = written(tmp_path / "program.npz", *edited(*opened(make(), tmp_path), edit))
    with pytest.raises(ModelFileError, match=r"is not a program or is damaged|was changed after") as caught:
        load(path)
    assert len(str(caught.value)) < 700
    assert "\n" not in str(caught.value)


def named(**names: str) -> Edit:
    return both(*(renamed(old, new) for old, new in names.items()))


HARMLESS: dict[str, Edit] = {
    "other names": named(U="MODEL_STEPS", k="model_answer", h="i"),
    "names of the printer": named(U="U_bits", W="W_counts", p="s", k="x"),
    "names of functions": named(U="tanh_0", W="printf", p="frame", z="logits"),
    "names in capitals": named(U="INT8_MAX", W="NULL", p="ROM", y="CLAMP"),
    "names of Python": named(U="xp", W="print", p="rows", y="numpy"),
    "words with markup": put("about", value={"cell": '*/ system("id"); /*', "<script>": "`id`\n# x", "classes": "a b"}),
    "classes with code": put("class_names", value=['"); system("id"); ("', "*/", "\\\n%s%n"]),
    "a state that begins outside its bounds": put("step", 3, "low", value=0.5),
    "one class name twice": put("class_names", value=["a", "a", "a"]),
    "a sum of 62 bits": put("constants", "wide", value="s32.45"),
    "bounds beyond the format": both(put("step", 3, "low", value=1e6), put("step", 3, "high", value=2e6)),
}  # fmt: skip


@pytest.mark.parametrize("name", HARMLESS)
def test_a_strange_program_that_is_accepted_runs_the_same_in_c(name: str, tmp_path: Path) -> None:
    found = load(written(tmp_path / "program.npz", *edited(*opened(program(), tmp_path), HARMLESS[name])))
    runs_in_c(found)
    for target in ("c", "secure", "ezpc"):
        found.export(tmp_path / target, target)
    compile((tmp_path / "secure" / "program.py").read_text(encoding="utf-8"), "program.py", "exec")


def runs_in_c(found: IntegerProgram, which: slice = slice(0, 2)) -> None:
    given_format = found.values["input"].format
    x = np.random.default_rng(0).integers(given_format.low, given_format.high + 1, (found.steps, 8, found.inputs))
    x[:, 0], x[:, 1] = given_format.low, given_format.high
    run(found, x)
    compare(found, x, variants()[which])


WORDS = ("W", "U", "b", "h", "p", "z", "k", "y", "input", "window", "s8.5", "u8.7", "s16.30", "s4.-9", "tanh")
ODD = st.one_of(
    st.integers(-(2**70), 2**70), st.integers(-3, 40), st.floats(), st.booleans(), st.none(), st.text(max_size=8),
    st.sampled_from(WORDS), st.lists(st.integers(0, 9), max_size=3), st.just({}),
)  # fmt: skip


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), convolutional=st.booleans())
def test_any_edit_is_refused_in_one_line_or_runs_the_same_in_c(
    data: st.DataObject, convolutional: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("crafted")
    content, arrays = opened(network(4, 8) if convolutional else program(), folder)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(sorted(leaves(content), key=repr)))
        try:
            content, arrays = edited(content, arrays, drop(*path) if data.draw(st.integers(0, 9)) == 0 else
                                     put(*path, value=data.draw(ODD)))  # fmt: skip
        except (KeyError, IndexError, TypeError):
            continue
    path = written(folder / "program.npz", content, arrays)
    with contextlib.suppress(ModelFileError):
        runs_in_c(load(path), slice(1, 2))


def test_deep_text_and_huge_numbers_are_refused(tmp_path: Path) -> None:
    content, arrays = opened(program(), tmp_path)
    text = json.dumps(content)
    for name, other in {
        "deep": text.replace('"steps": 5', '"steps": ' + "[" * 100_000 + "]" * 100_000),
        "digits": text.replace('"steps": 5', '"steps": ' + "9" * 10_000),
        "no text": text[:-1],
        "not a number": text.replace('"steps": 5', '"steps": NaN'),
    }.items():
        with pytest.raises(ModelFileError, match="is not a program or is damaged"):
            load(written(tmp_path / f"{name}.npz", other, arrays))
