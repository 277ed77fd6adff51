"""The parts of an EzPC export that are the same for every program, its names, its tables and its README."""

import re
from collections.abc import Callable, Iterable
from itertools import pairwise

from edgesearch.export.files import worded
from edgesearch.export.frames import bullets
from edgesearch.export.segments import Segments
from edgesearch.numerics.program import IntegerProgram

FUNCTIONS = """
(* x * 2^-shift, halves rounded up: added is 2^62 + 2^(shift - 1), and back is 2^(62 - shift), for a logical shift *)
def int64_al rounded(int64_al x, int64_pl added, int32_pl shift, int64_pl back){
  int64_al y = x + added;
  int64_bl z = y;
  int64_bl shifted = z >>> shift;
  int64_al result = shifted;
  return result - back;
}

def int64_al held(int64_al x, int64_pl low, int64_pl high){
  int64_bl least = low;
  int64_bl most = high;
  int64_bl y = x;
  y = (least > y) ? least : y;
  y = (y > most) ? most : y;
  int64_al result = y;
  return result;
}
"""

_LANGUAGE = (
    "int32 int64 uint32 uint64 float bool void true false al bl pl baba output input return partition inline extern "
    "unroll const if def else for while server client all"
)
_OURS = "i j k t c v w x y i0 i1 i2 i3 main rounded held total best other row column"
_COMPILED = "role party bitlen acirc bcirc ycirc address port sharing cin cout vector share circuit"
_WORDS = frozenset(f"{_LANGUAGE} {_OURS} {_COMPILED}".split())


class Names(dict[str, str]):
    """A program's names in EzPC's alphabet, which has letters and digits only: l0_h_next is l0HNext."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        taken = set(_WORDS)
        for name in names:
            if name not in self:
                first, *others = [part for part in name.split("_") if part] or ["value"]
                plain = first + "".join(part[0].upper() + part[1:] for part in others)
                if plain.lower() in taken or not plain[0].isalpha() or re.fullmatch(r"(?:table|part)\d+", plain):
                    plain = f"the{plain[0].upper()}{plain[1:]}"
                own, k = plain, 2
                while own.lower() in taken:
                    own, k = f"{plain}Again{k}", k + 1
                taken.add(own.lower())
                self[name] = own


def table_function(name: str, table: Segments, rounded: Callable[[str, int], str]) -> str:
    """Return a table as a function: each segment that |x| has reached replaces the coefficients of the one before."""
    names = ["start", *(f"c{k}" for k in range(len(table.shifts) + 1))]
    rows = [(start, *row) for start, row in zip(table.starts, table.coefficients, strict=True)]
    lines = ["  int64_bl y = x;", "  bool_bl negative = (0L > y);", "  int64_bl m = negative ? (0L - y) : y;"]
    lines += [f"  int64_bl {own} = {value}L;" for own, value in zip(names, rows[0], strict=True)]
    lines += ["  bool_bl reached;"]
    for before, row in pairwise(rows):
        lines.append(f"  reached = (m > {row[0] - 1}L);")
        for own, old, new in zip(names, before, row, strict=True):
            if old != new:
                lines.append(f"  {own} = reached ? {new}L : {own};")
    lines += ["  int64_bl inside = m - start;", "  int64_al d = inside;"]
    lines += [f"  int64_al a{k} = c{k};" for k in range(len(table.shifts) + 1)]
    last = len(table.shifts)
    lines.append(f"  int64_al a = a{last};")
    for k, shift in zip(range(last - 1, -1, -1), table.shifts, strict=True):
        if k:
            lines.append(f"  a = {rounded('a * d', shift)} + a{k};")
        else:
            lines.append(f"  a = {rounded(f'(a * d) + (a0 * {1 << shift}L)', shift)};")
    lines += [f"  int64_al opposite = {table.mirror}L - a;", "  int64_bl less = opposite;", "  int64_bl more = a;"]
    lines += ["  int64_bl chosen = negative ? less : more;", "  int64_al result = chosen;"]
    value = "result" if table.bounds is None else f"held(result, {table.bounds[0]}L, {table.bounds[1]}L)"
    return "\n".join([f"def int64_al {name}(int64_al x){{", *lines, f"  return {value};", "}", ""])


def readme(program: IntegerProgram) -> str:
    """Return the folder's README."""
    about = "\n".join(f"* {worded(key)}: {worded(value)}" for key, value in program.about.items())
    return f"""# A classifier in EzPC's language

Made by edgesearch, for the compiler of https://github.com/mpc-msri/EzPC.

{about}
{bullets(program)}

| file | who has it |
|---|---|
| `model.ezpc` | everyone: sizes, formats, steps, tables of sigmoid and tanh |
| `server.txt` | the owner of the model: the constants in the order in which model.ezpc reads them |
| `client.txt` | the owner of the data: a window, frame after frame; a random one here |
| `expected.txt` | the logits of that window, which the client is to get |

    ./ezpc.sh model.ezpc --bitlen 64
    ./compile_aby.sh model0.cpp
    ./model0 -r 0 < server.txt        # and elsewhere: ./model0 -r 1 < client.txt

The answer is the first largest of the logits. All integers have 64 bits; a right shift is written as an addition of
2^62, a logical shift and a subtraction, as `>>` of EzPC rounds negative numbers towards zero.
"""
