"""The README of an exported C folder."""

from edgesearch.export.c_symbols import Symbols
from edgesearch.export.files import CONDITIONS, FRONT_END, worded
from edgesearch.export.frames import bullets
from edgesearch.numerics.operations import Affine, Apply
from edgesearch.numerics.program import IntegerProgram

_ELSEWHERE = (FRONT_END, "classes")  # what the README says in a place of its own
_STATE = """The model was trained and measured on windows of {steps} frames that begin with `model_reset`.
Without it the state of one window runs into the next, and the answers soon are no better than a guess. For answers more
often than every {steps} frames keep several `model_state`, each reset at the start of its own window, or keep
the last {steps} frames and call `model_predict`."""
_WINDOW = """The model looks at whole windows of {steps} frames. After so many steps the next window begins by
itself; `model_reset` begins one at any time. For answers more often than every {steps} frames keep several
`model_state`, each with a window of its own, or keep the last {steps} frames and call `model_predict`."""
_README = """# A classifier in integers

Made by edgesearch. {conditions}

`model.h` and `model.c` are all that a firmware needs, in C or C++; every .c of this folder belongs to it. `make test`
compiles them here and runs the golden windows of `test/`.

{about}
* classes: {classes}
* constants in flash: {constants} bytes, sparse indices and tables included; code comes on top
* RAM: {ram} bytes: states, one frame, scratch of a step, logits
* multiply-accumulates: {macs} for a window of {steps} frames
{bullets}
* scaling by mean and standard deviation is part of the model{front_end}

## Use

    #include "model.h"

    model_state s;
    model_input frame[MODEL_INPUTS];
    model_logit logits[MODEL_CLASSES];
    int t, d, answer;
    for (;;) {{
      model_reset(&s);                                /* every window of {steps} frames begins with it */
      for (t = 0; t < MODEL_STEPS; t++) {{
        for (d = 0; d < MODEL_INPUTS; d++) frame[d] = model_quantize(d, value[d]);    /* read in its unit */
        model_step(&s, frame);
      }}
      model_logits(&s, logits);
      answer = model_answer(logits);                  /* and its name: model_class_name(answer) */
    }}

or `model_predict(window)` for a whole window. Nothing is allocated and nothing is shared between two `model_state`.

**Reset.** {reset}

**Building.** `cc -std=c99 -c model.c`; for AVR `avr-gcc -std=gnu99`, which keeps the constants in flash by `__flash`.
In C++ compile it as it is, or as `model.cpp`; on AVR the constants then are in PROGMEM. Another model in the same
firmware needs names of its own: export it with `export.prefix=NAME`, another one in more than its case.

## Formats

`s16.12`: signed, 16 bits, the integer n stands for n / 2^12 (`s16.20`: n / 2^20). Every sum is exact, in as many bits
as the last column says, rounded once, halves upwards, then held to its format.

| vector | size | format | sum |
|---|---|---|---|
{values}

| constant | shape | format | stored | bytes |
|---|---|---|---|---|
{stored}

{tables}
"""


def readme(program: IntegerProgram, ram: int, symbols: Symbols) -> str:
    """Return the folder's README."""
    about = (f"* {worded(key)}: {worded(text)}" for key, text in program.about.items() if key not in _ELSEWHERE)
    classes = (f"{k} {worded(name)}" for k, name in enumerate(program.answers))
    reset = symbols.renamed(_WINDOW if program.reads_window and not program.states else _STATE)
    return symbols.renamed(_README).format(
        reset=reset.format(steps=program.steps),
        conditions=CONDITIONS, about="\n".join(about), classes=", ".join(classes), constants=program.flash_bytes,
        ram=ram, macs=program.macs, steps=program.steps, bullets=bullets(program), front_end=_front_end(program),
        values=_values(program), stored=_constants(program), tables=_tables(program),
    )  # fmt: skip


def _front_end(program: IntegerProgram) -> str:
    words = program.about.get(FRONT_END)
    return f"\n* frames are not raw samples but {worded(words)}" if words else ""


def _values(program: IntegerProgram) -> str:
    rows = [f"| input | {program.inputs} | {program.values['input'].format} | |"]
    rows += [f"| {s} (state) | {program.values[s].size} | {program.values[s].format} | |" for s in program.states]
    for o in (*program.step, *program.head):
        value, kind = program.values[o.out], "" if isinstance(o, Apply) else f"{program.sum_bits(o)} bits"
        words = f"{'product' if isinstance(o, Affine) else 'table' if isinstance(o, Apply) else 'sum'}"
        rows.append(f"| {o.out} ({words}) | {value.size} | {value.format} | {kind} |")
    return "\n".join(rows)


def _constants(program: IntegerProgram) -> str:
    return "\n".join(
        f"| {name} | {' x '.join(map(str, c.integers.shape))} | {c.format} | {c.encoding} | {c.flash_bytes} |"
        for name, c in program.constants.items()
    )


def _tables(program: IntegerProgram) -> str:
    return "\n".join(
        f"* {out} = {t.function}: {len(t.coefficients)} segments of degree {t.coefficients.shape[1] - 1}, "
        f"{t.flash_bytes} bytes, worst error {t.error:.1e} over every input"
        for out, t in program.tables.items()
    )
