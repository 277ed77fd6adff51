"""Worst errors of the approximated functions over every input of 16 and of 32 bits, as C computes them.

For both methods, degree 2 and at most 16 segments: sigmoid and tanh within 1e-4, 1 / sqrt(x) within 2e-4 of its value.
`claimed` is the error that the generator states, `jump` the largest one at a joint, in units of the last place.

    python benchmarks/approximations.py        # a few minutes: 2^32 inputs of each function; --quick: 16 bits alone
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

from edgesearch.export.approximation import c_header
from edgesearch.numerics.format import Format
from edgesearch.numerics.generator import piecewise
from edgesearch.numerics.piecewise import Piecewise
from edgesearch.numerics.polynomials import METHODS, Method
from edgesearch.numerics.root import RootTable, approximate_root

SEGMENTS = 16
TRUE = {"sigmoid": "1 / (1 + exp(-x))", "tanh": "1 - 2 / (exp(2 * x) + 1)", "rsqrt": "1 / sqrt(x)"}
PROGRAM = """#include <math.h>
#include <stdint.h>
#include <stdio.h>
%(headers)s
static double true_value(double x) { return %(true)s; }
static double worst_of(double worst, double y, double f) {
  const double error = fabs(y * %(to)s - f) %(per)s;
  return error > worst ? error : worst;
}
int main(void) {
  double gpc = 0, minimax = 0;
  int64_t x;
  for (x = INT64_C(%(first)d); x <= INT64_C(%(last)d); x++) {
    const double f = true_value(x * %(source)s);
    gpc = worst_of(gpc, (double)gpc_fixed((int32_t)x), f);
    minimax = worst_of(minimax, (double)minimax_fixed((int32_t)x), f);
  }
  printf("%%.9g %%.9g\\n", gpc, minimax);
  return 0;
}
"""


def table_of(function: str, bits: int, method: Method) -> Piecewise | RootTable:
    source = Format(bits, bits - 5)
    if function != "rsqrt":
        return piecewise(function, source, Format(bits, bits - 2), 1e-4, method=method, segments=SEGMENTS)
    to = Format(32, 30 - (source.fraction + 1) // 2)
    error = 2e-4 - RootTable.rounding(source, to)
    return approximate_root(source, to, error, method=method, segments=SEGMENTS)


def worst(function: str, tables: dict[Method, Piecewise | RootTable]) -> list[float]:
    """The error of each table over every input; of a root every positive one."""
    table = tables["gpc"]
    headers = [c_header(t, function).replace(f"{function}_", f"{m}_") for m, t in tables.items()]
    guard = f"{function}_".upper()
    settings = {
        "headers": "\n".join(h.replace(guard, f"{m}_".upper()) for m, h in zip(tables, headers, strict=True)),
        "true": TRUE[function],
        "to": f"{table.to.step!r}",
        "source": f"{table.source.step!r}",
        "per": "/ f" if function == "rsqrt" else "",
        "first": 1 if function == "rsqrt" else table.source.low,
        "last": table.source.high,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "main.c").write_text(PROGRAM % settings, encoding="utf-8")
        subprocess.run(["gcc", "-O3", "-march=native", "main.c", "-o", "main", "-lm"], cwd=path, check=True)  # noqa: S607
        found = subprocess.run([str(path / "main")], capture_output=True, text=True, check=True).stdout
    return [float(word) for word in found.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="16 bits alone")
    print(
        "function bits method  segments (bisection) degree bytes  worst error   claimed  last places  jump", flush=True
    )
    for bits in (16,) if parser.parse_args().quick else (16, 32):
        for function in TRUE:
            start = time.perf_counter()
            tables = {method: table_of(function, bits, method) for method in METHODS}
            found = worst(function, tables)
            for (method, table), error in zip(tables.items(), found, strict=True):
                pieces = table.mantissa if isinstance(table, RootTable) else table
                claimed = table.rounded_error if isinstance(table, RootTable) else table.error
                assert error <= claimed * (1 + 1e-6)
                units = "" if isinstance(table, RootTable) else f"{error / table.to.step:.4g}"
                print(
                    f"{function:8} {bits:4} {method:8} {len(pieces.starts):7} {pieces.bisected:11} "
                    f"{pieces.coefficients.shape[1] - 1:6} {table.flash_bytes:5} {error:12.4e} {claimed:9.3e} "
                    f"{units:>12} {pieces.jump:5}"
                )
            print(f"  {time.perf_counter() - start:.1f} s", flush=True)


if __name__ == "__main__":
    main()
