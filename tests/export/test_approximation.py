"""Tables as text: compiled C and the written Python module against the table, bit for bit."""

import runpy
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgesearch.export.approximation import c_header, python_module
from edgesearch.numerics.format import Format, Ints
from edgesearch.numerics.generator import piecewise
from edgesearch.numerics.piecewise import Piecewise
from edgesearch.numerics.root import RootTable, approximate_root

MAIN = """#include <stdio.h>
#include "table.h"
#include "table.h"
int main(void) {{
  long long x;
  while (scanf("%lld", &x) == 1) printf("%lld\\n", (long long){name}_fixed(x));
  return 0;
}}
"""
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-O1", "-fsanitize=undefined,address")
TABLES: dict[str, Piecewise | RootTable] = {
    "tanh": piecewise("tanh", Format(16, 11), Format(16, 14), 1e-4, segments=16),
    "sigmoid, degree 1": piecewise("sigmoid", Format(12, 7), Format(8, 6), 2e-2, degree=1),
    "sigmoid, wide": piecewise("sigmoid", Format(32, 27), Format(32, 30), 1e-4, degree=3, method="minimax"),
    "tanh, 32 unsigned": piecewise("tanh", Format(32, 28, signed=False), Format(32, 31, signed=False), 1e-3),
    "negative ends": piecewise("exp(x)", Format(16, 11), Format(32, 20), 1e-3, low=-9, high=2),
    "one segment": piecewise("x/2", Format(32, 20), Format(32, 20), 1e-3, low=-100, high=-50),
    "root": approximate_root(Format(16, 11), Format(32, 24), 1.9e-4),
    "root, coarse value": approximate_root(Format(16, 3, signed=False), Format(8, 6), 1e-3),
    "root, 32 bits": approximate_root(Format(32, 7), Format(32, 26, signed=False), 1.9e-4),
    "root, 32 unsigned": approximate_root(Format(32, 40, signed=False), Format(32, 12), 1.9e-4),
}


def integers(table: Piecewise | RootTable) -> Ints:
    source = table.source
    if source.bits <= 16:
        return np.arange(source.low, source.high + 1)
    near = [source.low, source.low + 1, source.high - 1, source.high]
    if isinstance(table, Piecewise):
        near += [int(s) + off for s in (*table.starts, table.interval[1]) for off in (-1, 0, 1)]
    powers = [(1 << k) + off for k in range(source.bits - 1) for off in (-1, 0, 1)]
    drawn = np.random.default_rng(0).integers(source.low, source.high, 20_000, endpoint=True)
    return np.unique(np.clip(np.concatenate([near, powers, drawn]), source.low, source.high))


@pytest.mark.parametrize("name", TABLES)
def test_c_and_python_text_give_what_the_table_gives(name: str, tmp_path: Path) -> None:
    table = TABLES[name]
    label = table.label if isinstance(table, Piecewise) else "rsqrt"
    x = integers(table)
    expected = table(x)
    (tmp_path / "table.py").write_text(python_module(table, 'about "quotes" and \\ more'), encoding="utf-8")
    module = runpy.run_path(str(tmp_path / "table.py"))
    np.testing.assert_array_equal(module[f"{label}_fixed"](x), expected)
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    (tmp_path / "table.h").write_text(c_header(table, "about */ it"), encoding="utf-8")
    (tmp_path / "main.c").write_text(MAIN.format(name=label), encoding="utf-8")
    subprocess.run(["gcc", *FLAGS, "main.c", "-o", "main"], cwd=tmp_path, check=True)  # noqa: S607
    given = "\n".join(map(str, x.tolist()))
    done = subprocess.run([str(tmp_path / "main")], input=given, capture_output=True, text=True, check=True)
    np.testing.assert_array_equal(np.array(done.stdout.split(), np.int64), expected)


def test_inputs_outside_the_format_count_as_its_ends() -> None:
    table = TABLES["tanh"]
    assert table(np.array([40000, -40000])).tolist() == [16384, -16384]
