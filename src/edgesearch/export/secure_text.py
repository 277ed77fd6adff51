"""The parts of a secure export that are the same for every program, and its README."""

from edgesearch.export.files import worded
from edgesearch.export.frames import as_numpy, bullets
from edgesearch.numerics.program import IntegerProgram

PROGRAM = '''"""A classifier in integers, to be run over secret ones: {about}.

Made by edgesearch. {conditions}
Everything in this file is public: sizes, formats, the number of steps, the tables of sigmoid and tanh.
`run(jax.numpy, model, x, jax.lax.fori_loop)` gives the logits, in int64 throughout, so that jax needs jax_enable_x64.
The answer is the first largest logit. `python program.py model.npz data.npz` runs it in the open.
"""

# ruff: noqa: B905
from typing import Any
{arithmetic}

STEPS, INPUTS, CLASSES = {steps}, {inputs}, {classes}
LOW, HIGH = {low}, {high}  # of the input's integers, format {format}
SHAPES = {{
{shapes}}}
{tables}

def run(xp: Any, m: Any, x: Any, loop: Any = in_turn) -> Any:
    """Return the logits (rows, CLASSES) of x (rows, STEPS, INPUTS); m has the model's arrays by the names of SHAPES.

    With `loop` = jax.lax.fori_loop a frame is traced once.
    """
    if x.dtype != xp.int64:
        raise TypeError(f"x must be int64, got {{x.dtype}}; set jax_enable_x64")
    rows = x.shape[0]
{body}
    return {logits}


if __name__ == "__main__":
    import sys

    import numpy

    with numpy.load(sys.argv[1], allow_pickle=False) as model, numpy.load(sys.argv[2], allow_pickle=False) as data:
        print(run(numpy, dict(model), data["windows"]))
'''


def readme(program: IntegerProgram) -> str:
    """Return the folder's README."""
    about = "\n".join(f"* {worded(key)}: {worded(value)}" for key, value in program.about.items())
    return f"""# A classifier in integers, for secret models and secret data

Made by edgesearch.

{about}
{bullets(program)}

| file | who has it |
|---|---|
| `program.py` | everyone: sizes, formats, steps, tables of sigmoid and tanh; a function of int64 arrays, numpy or jax |
| `model.npz` | the owner of the model: matrices, biases and scalars as int64, zeros included |
| `data.npz` | the owner of the data: `windows` (N, {program.steps}, {program.inputs}), int64, made by the line below |

    windows = {as_numpy(program)}
    numpy.savez("data.npz", windows=windows)                  # x (N, {program.steps}, {program.inputs}) in raw units

`python program.py model.npz data.npz` runs it in the open. Over secret shares it is run by anything that takes JAX
functions, such as SecretFlow SPU (0.9.5, field FM64, jax_enable_x64):

    run = lambda m, x: program.run(jax.numpy, m, x, jax.lax.fori_loop)
    logits = spu.utils.simulation.sim_jax(simulator, run)(model, windows)

Each owner shares the arrays of its own file; the logits are revealed to the owner of the data, who takes the first
largest. `edgesearch task=secure run=RUN` does all that and compares every logit with the interpreter's. It tells
whether the program is right and what it costs: all parties are on one machine, over links without TLS, and with semi2k
party 0, the owner of the model, deals the correlated randomness and has to be trusted not to use it on the data.
Between owners who do not trust each other run it with `beaver_type` TrustedThirdParty and TLS, or with ABY3 on three
machines, no two of which work together.

What everyone learns: this program's structure, which includes the formats and which sums have to be held to their
bounds, both of which follow from the ranges of the trained values; and how many windows there are.
"""
