"""Approximated functions as text: a table in, a C header or a Python module out that need nothing else but numpy.

Both compute what the table computes, bit for bit. In C nothing is wider than 32 bits, or than 64 for a wide table.
"""

from collections.abc import Iterable, Iterator

from edgesearch.export.files import CONDITIONS
from edgesearch.numerics.format import Format
from edgesearch.numerics.piecewise import Piecewise
from edgesearch.numerics.root import FRACTION, RootTable

_C_HEAD = """/* Made by edgesearch. {conditions}
   {about}
   {formats}. C99, integers only. */
#ifndef {guard}
#define {guard}
#include <stdint.h>

#ifndef EDGESEARCH_ROM
#if defined(__AVR__)
#define EDGESEARCH_ROM const __flash
#else
#define EDGESEARCH_ROM const
#endif
#endif
typedef char {name}_needs_arithmetic_shift[(-1 >> 1) == -1 ? 1 : -1];

"""
_C_ROOT = """
/* 1 / sqrt(x * 2^{minus}) is the result * 2^-{bits} * 2^-*k, for x > 0. */
static inline int32_t {name}_reduced({unsigned} x, int *k) {{
  int bits = 0, step, up;
  for (step = {half}; step; step >>= 1)
    if (x >> (bits + step)) bits += step;
  *k = (bits {fraction}) >> 1;
  up = {reach} - 2 * *k;
  if (up >= 0) return {name}_mantissa((int32_t)(x << up));
  return {name}_mantissa((int32_t)((x + (({unsigned})1 << (-up - 1))) >> -up));
}}

/* 1 / sqrt(x), the largest number for x <= 0. */
static inline {result} {name}_fixed({given} x) {{
  int k, shift;
  int64_t y;
  if (x <= 0) return {high};
  y = {name}_reduced(({unsigned})x, &k);
  shift = k + ({drop});
  if (shift > 40) shift = 40;
  if (shift < -40) shift = -40;
  y = shift > 0 ? (y + ((int64_t)1 << (shift - 1))) >> shift : y * ((int64_t)1 << -shift);
  return ({result})(y > {high} ? {high} : y);
}}
"""
_PYTHON_ROOT = '''

def {name}_reduced(x):
    """1 / sqrt(x * 2**{minus}) is y * 2**-{bits} * 2**-k, for integers x > 0."""
    x = np.asarray(x, np.int64)
    length = np.frexp((x & ~(x >> 1)).astype(np.float64))[1].astype(np.int64)
    k = (length - 1 - ({own})) >> 1
    up = {reach} - 2 * k
    down = np.maximum(-up, 0)
    return {name}_mantissa(((x << np.maximum(up, 0)) + ((1 << down) >> 1)) >> down), k


def {name}_fixed(x):
    """1 / sqrt(x), the largest number for x <= 0."""
    x = np.asarray(x, np.int64)
    y, k = {name}_reduced(np.maximum(x, 1))
    shift = k + ({drop})
    down = np.clip(shift, 0, 40)
    y = ((y << np.clip(-shift, 0, 40)) + ((1 << down) >> 1)) >> down
    return np.where(x > 0, np.minimum(y, {high}), {high})
'''


def c_header(table: Piecewise | RootTable, about: str) -> str:
    """Return table.h with the function NAME_fixed, and for a root NAME_reduced; `about` says what it is."""
    name, formats = _name(table), _formats(table)
    guard = "".join(c if c.isalnum() else "_" for c in f"{name}_{table.source}_{table.to}").upper() + "_H"
    about = about.replace("*/", "* /")
    head = _C_HEAD.format(conditions=CONDITIONS, about=about, formats=formats, guard=guard, name=name)
    if isinstance(table, Piecewise):
        return head + "\n".join(_c_piecewise(table, name, "fixed")) + "\n\n#endif\n"
    wide = table.source.bits - table.source.signed > 31  # (rounding adds to x)
    root = _C_ROOT.format(
        name=name,
        minus=-table.source.fraction,
        bits=FRACTION,
        unsigned="uint64_t" if wide else "uint32_t",
        half=32 if wide else 16,
        fraction=f"{'-' if table.source.fraction >= 0 else '+'} {abs(table.source.fraction)}",
        reach=FRACTION - table.source.fraction,
        result=_holds(table.to),
        given=_holds(table.source),
        high=_literal(table.to.high),
        drop=FRACTION - table.to.fraction,
    )
    return head + "\n".join(_c_piecewise(table.mantissa, name, "mantissa")) + "\n" + root + "\n#endif\n"


def python_module(table: Piecewise | RootTable, about: str) -> str:
    """Return table.py with the same functions on numpy arrays."""
    name = _name(table)
    about = about.replace("\\", "/").replace('"', "'")
    head = f'"""Made by edgesearch. {about}\n\n{_formats(table)}.\n"""\n\nimport numpy as np\n\n'
    if isinstance(table, Piecewise):
        return head + "\n".join(_python_piecewise(table, name, "fixed")) + "\n"
    root = _PYTHON_ROOT.format(
        name=name,
        minus=-table.source.fraction,
        bits=FRACTION,
        own=table.source.fraction,
        reach=FRACTION - table.source.fraction,
        drop=FRACTION - table.to.fraction,
        high=table.to.high,
    )
    return head + "\n".join(_python_piecewise(table.mantissa, name, "mantissa")) + "\n" + root


def _c_piecewise(table: Piecewise, name: str, function: str) -> Iterator[str]:
    segments, terms = table.coefficients.shape
    kind, own = ("int64_t", 32) if table.wide else ("int32_t", 16)
    start = table.start_format
    starts = f"{'' if start.signed else 'u'}int{start.bits}_t"
    given = _holds(table.source)
    yield f"static EDGESEARCH_ROM {starts} {name}_start[{segments}] = {{{_joined(table.starts)}}};"
    yield f"static EDGESEARCH_ROM uint8_t {name}_scale[{segments}] = {{{_joined(table.scales)}}};"
    yield f"static EDGESEARCH_ROM int{own}_t {name}_coefficient[{segments} * {terms}] = {{"
    yield from (f"  {_joined(row)}," for row in table.coefficients)
    yield "};\n"
    yield f"static inline {_holds(table.to)} {name}_{function}({given} x) {{"
    yield f"  EDGESEARCH_ROM int{own}_t *c;"
    yield f"  {kind} m, t, y;"
    yield "  int k = 0, step;"
    if table.source.bits < 32 or not table.source.signed:
        yield f"  if (x < {_literal(table.source.low)}) x = {_literal(table.source.low)};"
        yield f"  if (x > {_literal(table.source.high)}) x = {_literal(table.source.high)};"
    yield "  m = x;" if table.mirror is None else f"  m = x < 0 ? -({kind})x : x;"
    low, high = map(_literal, table.interval)
    yield f"  m = m < {low} ? {low} : m > {high} ? {high} : m;"
    yield f"  for (step = {1 << max(0, (segments - 1).bit_length() - 1)}; step; step >>= 1)"
    yield f"    if (k + step < {segments} && m >= ({kind}){name}_start[k + step]) k += step;"
    yield f"  t = (m - ({kind}){name}_start[k]) * (({kind})1 << {name}_scale[k]);"
    yield f"  c = {name}_coefficient + k * {terms};"
    yield f"  y = c[{terms - 1}];"
    for k, shift in zip(range(terms - 2, -1, -1), table.shifts, strict=True):
        total = "y * t" if k else f"y * t + c[0] * (({kind})1 << {table.rise})"
        rounded = f"({total} + (({kind})1 << {shift - 1})) >> {shift}" if shift else total
        yield f"  y = {f'(({rounded})) + c[{k}]' if k else rounded};"
    if table.mirror is not None:
        yield f"  if (x < 0) y = {_literal(table.mirror)} - y;"
    least, most = map(_literal, table.bounds)
    yield f"  return ({_holds(table.to)})(y < {least} ? {least} : y > {most} ? {most} : y);"
    yield "}"


def _python_piecewise(table: Piecewise, name: str, function: str) -> Iterator[str]:
    degree = table.coefficients.shape[1] - 1
    yield f"STARTS = np.array({table.starts.tolist()})"
    yield f"SCALES = np.array({table.scales.tolist()})"
    yield "COEFFICIENTS = np.array(\n    ["
    yield from (f"        {row}," for row in table.coefficients.tolist())
    yield "    ]\n)\n\n"
    yield f"def {name}_{function}(x):"
    low, high = (table.source.low, table.source.high) if table.mirror is not None else table.interval
    yield f"    x = np.clip(np.asarray(x, np.int64), {low}, {high})"
    yield f"    m = np.minimum(np.abs(x), {table.interval[1]})" if table.mirror is not None else "    m = x"
    yield '    k = np.searchsorted(STARTS, m, side="right") - 1'
    yield "    t, c = (m - STARTS[k]) << SCALES[k], COEFFICIENTS[k]"
    yield f"    y = c[..., {degree}]"
    for k, shift in zip(range(degree - 1, -1, -1), table.shifts, strict=True):
        total = "y * t" if k else f"y * t + (c[..., 0] << {table.rise})"
        rounded = f"({total} + {1 << shift >> 1}) >> {shift}"
        yield f"    y = {f'({rounded}) + c[..., {k}]' if k else rounded}"
    if table.mirror is not None:
        yield f"    y = np.where(x < 0, {table.mirror} - y, y)"
    yield f"    return np.clip(y, {table.bounds[0]}, {table.bounds[1]})"


def _name(table: Piecewise | RootTable) -> str:
    return table.label if isinstance(table, Piecewise) else "rsqrt"


def _formats(table: Piecewise | RootTable) -> str:
    parts = (("x", table.source), ("the value", table.to))
    return ", ".join(f"{what} {f}: the integer n is n * 2^{-f.fraction}" for what, f in parts)


def _holds(format: Format) -> str:
    return "int32_t" if format.low >= -(1 << 31) and format.high < 1 << 31 else "int64_t"


def _literal(value: int) -> str:
    if value == -(1 << 31):
        return "(-2147483647 - 1)"
    return f"INT64_C({value})" if abs(value) >= 1 << 31 else str(value)


def _joined(values: Iterable[int]) -> str:
    return ", ".join(_literal(int(v)) for v in values)
