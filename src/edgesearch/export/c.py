"""Integer programs as C99 that C++ takes too: the model in one folder, a self-test with golden vectors in its `test`.

No malloc, no floats, no library calls. Values of one loop are local variables; sparse matrices stay sparse; constants
are packed to their widths. Right shifts of negative numbers must be arithmetic, which a line of the C checks.
"""

from collections.abc import Iterator
from pathlib import Path
from textwrap import fill, indent

import numpy as np

from edgesearch.export.c_loops import Loops
from edgesearch.export.c_parts import Parts, c_type, numbers
from edgesearch.export.c_readme import readme
from edgesearch.export.c_symbols import DEFAULT, Symbols, array
from edgesearch.export.c_text import (
    HEADER,
    MAKEFILE,
    PRELUDE,
    SELFTEST,
    STATE_RESET,
    TAIL,
    WINDOW_RESET,
    WINDOW_STEP,
)
from edgesearch.export.files import CONDITIONS, FRONT_END, worded, write_folder
from edgesearch.export.frames import c_helper, c_words
from edgesearch.export.layout import ram_bytes
from edgesearch.numerics.interpreter import run
from edgesearch.numerics.operations import Operation
from edgesearch.numerics.program import IntegerProgram

_PLAIN = frozenset(range(32, 127)) - frozenset(b'"\\?')  # bytes that a C string holds as they are
_GOLDEN = 4  # windows drawn at random besides the extreme ones


def export_c(program: IntegerProgram, folder: Path, prefix: str = DEFAULT) -> None:
    """Write the C folder; it is complete or not there.

    Args:
        program: what to write.
        folder: a new one, or one with nothing but an earlier export.
        prefix: of every name and macro, and the name of the two files.

    Raises:
        ConfigError: there is something else than an earlier export, or a prefix that is no identifier.
        OSError: the folder cannot be written.
    """
    write_folder(folder, files(program, prefix), left_behind(prefix))


def left_behind(prefix: str = DEFAULT) -> frozenset[str]:
    """Return what building an exported folder, as its README says, leaves there."""
    return frozenset({"test/selftest", f"{prefix}.o"})


def files(program: IntegerProgram, prefix: str = DEFAULT) -> dict[str, str]:
    """Return the files of the C folder by name.

    Raises:
        ConfigError: the prefix is no identifier.
    """
    symbols = Symbols(prefix)
    return {
        f"{prefix}.h": header(program, symbols),
        f"{prefix}.c": source(program, symbols),
        "test/golden.h": golden(program, symbols),
        "test/selftest.c": symbols.renamed(SELFTEST),
        "Makefile": symbols.renamed(MAKEFILE),
        "README.md": readme(program, ram_bytes(program), symbols),
    }


def header(program: IntegerProgram, symbols: Symbols) -> str:
    """Return the header."""
    states = [(c_type(program.values[name].format), array(name), program.values[name].size) for name in program.states]
    lines = [f"  {kind} {name}[{size}];" for kind, name, size in states]
    if program.reads_window:
        window = f"(size_t){symbols.macro('STEPS')} * {symbols.macro('INPUTS')}"
        lines += [f"  {symbols.of('input')} window[{window}];", "  size_t frames;"]
    front_end = program.about.get(FRONT_END)
    frames = "" if front_end is None else fill(f"Frames are {worded(front_end)}.", 112)
    return symbols.renamed(HEADER).format(
        conditions=CONDITIONS, steps=program.steps, inputs=program.inputs, classes=program.classes,
        states="\n".join(lines), words=symbols.renamed(c_words(program)), helper=symbols.renamed(c_helper(program)),
        input=c_type(program.values["input"].format), logit=c_type(program.values[program.logits].format),
        names=", \\\n".join(f"  {_string(name)}" for name in program.answers),
        reset=symbols.renamed(WINDOW_RESET if program.reads_window and not program.states else STATE_RESET),
        frames=f"\n\n{indent(frames, '   ')}" if frames else "",
    )  # fmt: skip


def source(program: IntegerProgram, symbols: Symbols) -> str:
    """Return the C file."""
    loops, parts = Loops(program, symbols), Parts(program, symbols)
    step = "\n".join(loops.lines(loops.layout.step, *_unread(program, program.step, {"input", "window"}, "frame")))
    head = "\n".join(loops.lines(loops.layout.head, *_unread(program, program.head, {*program.states, "window"}, "s")))
    resets = "\n".join(
        f"  for (i = 0; i < {program.values[state].size}; i++) s->{array(state)}[i] = 0;" for state in program.states
    )
    if program.reads_window:
        size = f"(size_t){symbols.macro('STEPS')} * {symbols.macro('INPUTS')}"
        step = f"{step}\n{symbols.renamed(WINDOW_STEP)}"
        resets += f"\n  for (i = 0; i < {size}; i++) s->window[i] = 0;\n  s->frames = 0;"
    prelude = symbols.renamed(PRELUDE).replace("{conditions}", CONDITIONS)
    tail = symbols.renamed(TAIL).format(step=step, head=head, resets=resets)
    return "\n".join((prelude, *parts.constants(), *parts.functions(), tail))


def _unread(program: IntegerProgram, operations: tuple[Operation, ...], vectors: set[str], argument: str) -> list[str]:
    """The argument that holds these vectors, if no operation reads them."""
    kept = argument == "frame" and program.reads_window
    return [] if kept or any(vectors & set(operation.reads) for operation in operations) else [argument]


def golden(program: IntegerProgram, symbols: Symbols) -> str:
    """Return golden.h: windows with the logits and answers that the interpreter gives."""
    given = program.values["input"].format
    generator = np.random.default_rng(0)
    x = generator.integers(given.low, given.high + 1, (program.steps, _GOLDEN + 3, program.inputs))
    x[:, 0], x[:, 1], x[:, 2] = given.low, given.high, 0
    outcome = run(program, x)

    def lines() -> Iterator[str]:
        yield f"#define GOLDEN {x.shape[1]}"
        for kind, name, values in (
            (symbols.of("input"), "windows", x.transpose(1, 0, 2)),
            (symbols.of("logit"), "logits", outcome.logits),
            ("int", "answers", outcome.answers),
        ):
            yield f"static const {kind} golden_{name}[] = {{"
            yield from numbers(values)
            yield "};"

    return "\n".join((*lines(), ""))


def _string(text: str) -> str:
    """A C string of the text's bytes in UTF-8; a question mark could begin a trigraph."""
    inside = "".join(chr(b) if b in _PLAIN else f"\\{b:03o}" for b in text.encode("utf-8", "replace"))
    return f'"{inside}"'
