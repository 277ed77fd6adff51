"""How a frame's values become the program's integers: in words, as numpy and as C."""

from edgesearch.numerics.format import ChannelFormat
from edgesearch.numerics.program import IntegerProgram

_PER_LINE = 8
_AVR = "\n   which avr-gcc has not: take the offsets away there."
_SINGLE, _SINGLE_POWER = 2**22, 100  # integers and powers of two that 32-bit floats hold with a half

_HELPER = """/* A value in the unit of channel 0..MODEL_INPUTS-1 as the frame's integer, held to {low}..{high}.
   Firmware that does not call it, as it has integers already, pays nothing for its floating point; where a compiler
   knows none, define MODEL_NO_FLOAT.{needs} */
#if !defined(MODEL_NO_FLOAT){condition}
static inline model_input model_quantize(int channel, double value) {{
{tables}
  int32_t whole;
  (void)channel;
  if (!(n >= {low})) return {low};
  if (n >= {high}) return {high};
  whole = (int32_t)n;
  return (model_input)(whole > n ? whole - 1 : whole);
}}
#endif"""


def bullets(program: IntegerProgram) -> str:
    """Return the lines of a README that say what a window is."""
    given = program.values["input"].format
    held = f"held to {given.low}..{given.high}"
    if not isinstance(given, ChannelFormat):
        return (
            f"* input: windows of {program.steps} frames of {program.inputs} values, each\n"
            f"  floor(value * 2^{given.fraction} + 1/2) {held} ({given}), in the raw units of the data"
        )
    rows = "\n".join(
        f"  | {d} | floor(value * 2^{f}{f' - {o}' if o else ''} + 1/2) | {2.0**-f:.3g} |".replace("- -", "+ ")
        for d, (f, o) in enumerate(map(given.channel, range(program.inputs)))
    )
    return (
        f"* input: windows of {program.steps} frames of {program.inputs} values in the raw units of the data, each\n"
        f"  channel with a format of its own, {held} ({given.bits} bits)\n\n"
        f"  | channel | integer | last place |\n  |---|---|---|\n{rows}\n"
    )


def as_numpy(program: IntegerProgram) -> str:
    """Return an expression of numpy for the integers of raw values `x` (..., D)."""
    given = program.values["input"].format
    if isinstance(given, ChannelFormat):
        scaled = f"x * 2.0 ** numpy.array({list(given.fractions)}) - numpy.array({list(given.offsets)})"
    else:
        scaled = f"x * 2.0**{given.fraction}"
    return f"numpy.clip(numpy.floor({scaled} + 0.5), {given.low}, {given.high}).astype(numpy.int64)"


def c_words(program: IntegerProgram) -> str:
    """Return the comment and the macro of model.h that say what a frame's integers are."""
    given = program.values["input"].format
    if isinstance(given, ChannelFormat):
        return (
            "/* A frame's channels have units and formats of their own; model_quantize below says how a value in a\n"
            f"   channel's unit becomes the integer, held to {given.low}..{given.high}. */"
        )
    return (
        f"/* A frame's values are fixed-point numbers, {given}: floor(value * 2^{given.fraction} + 1/2), held to "
        f"{given.low}..{given.high}. */\n#define MODEL_INPUT_FRACTION ({given.fraction})"
    )


def c_helper(program: IntegerProgram) -> str:
    """Return model_quantize, which gives what `Format.integers` gives."""
    given = program.values["input"].format
    if isinstance(given, ChannelFormat):
        steps = _array("steps", [2.0**f for f in given.fractions])
        offsets = _array("offsets", [float(o) for o in given.offsets])
        tables = f"{steps}\n{offsets}\n  const double n = value * steps[channel] - offsets[channel] + 0.5;"
    else:
        tables = f"  const double n = value * {2.0**given.fraction!r} + 0.5;"
    single = all(
        abs(o) + given.largest < _SINGLE and abs(f) <= _SINGLE_POWER
        for f, o in map(given.channel, range(program.inputs))
    )
    return _HELPER.format(
        tables=tables,
        low=given.low,
        high=given.high,
        needs="" if single else f" It needs a double of 64 bits,{_AVR}",
        condition="" if single else " && DBL_MANT_DIG >= 53",
    )


def _array(name: str, numbers: list[float]) -> str:
    lines = [", ".join(map(repr, numbers[k : k + _PER_LINE])) for k in range(0, len(numbers), _PER_LINE)]
    return f"  static const double {name}[MODEL_INPUTS] = {{\n    " + ",\n    ".join(lines) + "};"
