"""The oracle: an exported program compiled and run, and compared with the interpreter in every operation.

The C is built as it is exported, with MODEL_TRACE filled in: each variant must give the interpreter's integers for
every unit of every operation at every step of every window, or the first difference is an error.
"""

import ctypes
import errno
import functools
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgesearch.atomic import scratch_folder
from edgesearch.errors import DifferenceError, ToolError
from edgesearch.export.c import files
from edgesearch.export.layout import container_bits, layout
from edgesearch.numerics.format import Ints
from edgesearch.numerics.interpreter import run
from edgesearch.numerics.operations import Operation
from edgesearch.numerics.program import IntegerProgram

_ROWS = 256  # windows traced at once
_SANITIZERS = ("-fsanitize=undefined,address", "-fno-sanitize-recover=all")

_HARNESS = """#include <stdint.h>
static int32_t *trace;
#define MODEL_TRACE(operation, unit, value) (*trace++ = (int32_t)(value))
#include "model.c"

int32_t oracle(const model_input *x, int32_t windows, int32_t *to, int32_t *answers) {
  int32_t n, t;
  trace = to;
  for (n = 0; n < windows; n++) {
    model_state s;
    model_logit logits[MODEL_CLASSES];
    model_reset(&s);
    for (t = 0; t < MODEL_STEPS; t++) model_step(&s, x + ((size_t)n * MODEL_STEPS + t) * MODEL_INPUTS);
    model_logits(&s, logits);
    answers[n] = model_answer(logits);
  }
  return (int32_t)sizeof(model_state);
}

#ifdef ORACLE_PROGRAM
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
  const int32_t windows = atoi(argv[1]);
  const long in = (long)windows * MODEL_STEPS * MODEL_INPUTS, out = (long)windows * atoi(argv[2]);
  model_input *x = malloc(in * sizeof *x);
  int32_t *to = malloc(out * sizeof *to), *answers = malloc(windows * sizeof *answers);
  if (argc != 3 || fread(x, sizeof *x, in, stdin) != (size_t)in) return 2;
  oracle(x, windows, to, answers);
  fwrite(to, sizeof *to, out, stdout);
  fwrite(answers, sizeof *answers, windows, stdout);
  free(x), free(to), free(answers);
  return 0;
}
#endif
"""


@dataclass(frozen=True)
class Variant:
    """A compiler and its flags; with sanitizers the C runs as a program of its own."""

    compiler: str
    flags: tuple[str, ...]

    @property
    def name(self) -> str:
        """For tables."""
        return " ".join((Path(self.compiler).name, *(f for f in self.flags if f.startswith(("-O", "-fsan")))))

    @property
    def sanitized(self) -> bool:
        """Whether sanitizers watch it."""
        return _SANITIZERS[0] in self.flags


@dataclass(frozen=True)
class Skipped:
    """A variant that this machine cannot build, why, and what mends it."""

    name: str
    reason: str
    remedy: str


def variants() -> list[Variant]:
    """Return what this machine can build of gcc and clang, at -O0 with sanitizers, -O2 and -Os."""
    return [variant for variant in wanted() if builds(variant)]


def builds(variant: Variant) -> bool:
    """Tell whether this machine can build it; found out once."""
    return _obstacle(variant) is None


def skipped() -> list[Skipped]:
    """Return what it cannot build of the compilers that it has."""
    found = []
    for variant in wanted():
        reason = _obstacle(variant)
        if reason is not None:
            compiler = Path(variant.compiler).name
            what = f"{compiler}'s sanitizer runtime (Debian: libclang-rt-dev)" if variant.sanitized else compiler
            found.append(Skipped(variant.name, reason, f"install {what}"))
    return found


def wanted() -> list[Variant]:
    """Return every variant of the compilers that are here, whether they can be built or not."""
    compilers = [found for name in ("gcc", "clang") if (found := shutil.which(name))]
    if not compilers and (found := shutil.which("cc")):
        compilers = [found]
    return [
        Variant(compiler, flags)
        for compiler in compilers
        for flags in (("-O0", "-g", *_SANITIZERS), ("-O2",), ("-Os",))
    ]


@functools.cache
def _obstacle(variant: Variant) -> str | None:
    """Build and run next to nothing; return what stands in the way, or None."""
    with scratch_folder() as folder:
        source, program = folder / "probe.c", folder / "probe"
        source.write_text("int main(void) { return 0; }\n", encoding="utf-8")
        for command in ([variant.compiler, *variant.flags, str(source), "-o", str(program)], [str(program)]):
            try:
                done = _ran(command, folder)
            except OSError as error:
                return str(error)
            if done.returncode:
                _check_room(done.stderr, folder)
                return _first_error(done.stderr) or f"exit code {done.returncode}"
    return None


def _ran(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a compiler, whose temporary files are to be where ours are."""
    environment = os.environ | {"TMPDIR": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def _check_room(said: str, folder: Path) -> None:
    """Tell a full disk from a compiler that cannot.

    Raises:
        OSError: a compiler says that the disk of `folder` is full.
    """
    reason = os.strerror(errno.ENOSPC)
    if reason in said:
        raise OSError(errno.ENOSPC, reason, str(folder))


class Compiled:
    """A program built as one variant, callable on integers x (T, N, D).

    Raises:
        ToolError: the compiler cannot build with these flags here.
        DifferenceError: the exported C is no C.
    """

    def __init__(self, program: IntegerProgram, variant: Variant, folder: Path) -> None:
        self.program, self.variant = program, variant
        self._file = folder / ("oracle" if variant.sanitized else "oracle.so")
        for name, text in {**files(program), "oracle.c": _HARNESS}.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        kind = ("-DORACLE_PROGRAM",) if variant.sanitized else ("-shared", "-fPIC")
        command = [
            variant.compiler, "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", *variant.flags, *kind,
            str(folder / "oracle.c"), "-o", str(self._file),
        ]  # fmt: skip
        done = _ran(command, folder)
        if done.returncode:
            _check_room(done.stderr, folder)
            kind_of_error = DifferenceError if "model.c:" in done.stderr else ToolError
            raise kind_of_error(f"{variant.name} must compile the exported C, got: {_first_error(done.stderr)}")

    def __call__(self, x: Ints) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Return the trace (N, values of a window) and the answers (N,)."""
        given = self.program.values["input"].format
        kind = np.dtype(f"{'i' if given.signed else 'u'}{container_bits(given.bits) // 8}")
        windows = np.ascontiguousarray(x.transpose(1, 0, 2).astype(kind))
        count, width = len(windows), trace_width(self.program)
        if self.variant.sanitized:
            command = [str(self._file), str(count), str(width)]
            done = subprocess.run(command, input=windows.tobytes(), capture_output=True, check=False)
            if done.returncode:
                raise DifferenceError(f"{self.variant.name} stopped: {_first_error(done.stderr.decode())}")
            numbers = np.frombuffer(done.stdout, np.int32)
            return numbers[:-count].reshape(count, width), numbers[-count:]
        trace, answers = np.empty((count, width), np.int32), np.empty(count, np.int32)
        library = ctypes.CDLL(str(self._file))
        library.oracle(
            windows.ctypes.data_as(ctypes.c_void_p), ctypes.c_int32(count),
            trace.ctypes.data_as(ctypes.c_void_p), answers.ctypes.data_as(ctypes.c_void_p),
        )  # fmt: skip
        return trace, answers


def compare(program: IntegerProgram, x: Ints, which: Sequence[Variant] | None = None) -> dict[str, Ints]:
    """Return the answers (N,) of every variant on x (T, N, D), all equal to the interpreter's in every operation.

    Raises:
        DifferenceError: they differ; the message names the first sequence, step and operation.
        ToolError: no compiler, or it failed.
    """
    answers: dict[str, Ints] = {}
    for variant in variants() if which is None else which:
        with scratch_folder() as folder:
            compiled = Compiled(program, variant, folder)
            parts = [_compared(compiled, x[:, start : start + _ROWS], start) for start in range(0, x.shape[1], _ROWS)]
        answers[variant.name] = np.concatenate(parts)
    return answers


def trace_width(program: IntegerProgram) -> int:
    """Return how many values the operations of one window give."""
    sizes = [sum(program.values[o.out].size for o in part) for part in (program.step, program.head)]
    return program.steps * sizes[0] + sizes[1]


def _compared(compiled: Compiled, x: Ints, start: int) -> Ints:
    program = compiled.program
    trace, answers = compiled(x)
    seen: dict[tuple[int, str], Ints] = {}

    def keep(step: int, operation: Operation, integers: Ints) -> None:
        seen[step, operation.out] = integers

    outcome = run(program, x, keep)
    differences = []
    for columns, step, name in _columns(program):
        differ = np.argwhere(trace[:, columns] != seen[step, name])
        if len(differ):
            row, unit = differ[0]
            values = f"{seen[step, name][row, unit]} in the interpreter, {trace[row, columns[unit]]} in C"
            where = f"operation {name}, unit {unit}" if step < 0 else f"step {step}, operation {name}, unit {unit}"
            differences.append((row, step if step >= 0 else program.steps, f"{where}: {values}"))
    if differences:
        row, _, words = min(differences, key=lambda d: d[:2])
        raise DifferenceError(f"{compiled.variant.name} differs first in sequence {start + row}, {words}")
    if not np.array_equal(answers, outcome.answers):
        row = int(np.argwhere(answers != outcome.answers)[0, 0])
        raise DifferenceError(f"{compiled.variant.name} differs first in sequence {start + row}: another answer")
    return outcome.answers


def _columns(program: IntegerProgram) -> Iterator[tuple[Ints, int, str]]:
    """Where a trace holds each operation: loops take all operations of a unit before the next unit."""
    plan, at = layout(program), 0
    for step in [*range(program.steps), -1]:
        for loop in plan.head if step < 0 else plan.step:
            count = len(loop.operations)
            for k, operation in enumerate(loop.operations):
                yield at + k + count * np.arange(loop.size), step, operation.out
            at += count * loop.size


def _first_error(text: str) -> str:
    lines = [line for line in text.splitlines() if "error" in line.lower()]
    return lines[0] if lines else text.strip()[:300]
