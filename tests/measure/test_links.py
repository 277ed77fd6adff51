"""The exported C in other people's builds: C++, AVR in C and C++, two models in one program, an emulated chip."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgesearch.errors import ConfigError
from edgesearch.export.c import files
from edgesearch.numerics.format import Format
from edgesearch.numerics.operations import Affine, Combine, Term
from edgesearch.numerics.program import Constant, IntegerProgram, Value
from tests.measure.test_compiled import EXPORTED, PROGRAMS, program_of
from tests.measure.test_windows import network

GXX, GCC = shutil.which("g++"), shutil.which("gcc")
AVR_GCC, AVR_GXX, SIMAVR = shutil.which("avr-gcc"), shutil.which("avr-g++"), shutil.which("simavr")
STRICT = ("-Wall", "-Wextra", "-Werror", "-Os")
NAMES = ("dense", "sparse", "factors", "lines", "window", *PROGRAMS)
needs_avr = pytest.mark.skipif(AVR_GXX is None, reason="needs avr-gcc and avr-g++ (Debian: gcc-avr, avr-libc)")
needs_gxx = pytest.mark.skipif(GXX is None or GCC is None, reason="needs gcc and g++")

CXX = ("-x", "c++", "-std=c++11", "-pedantic")


def program(name: str) -> IntegerProgram:
    if name == "window":
        return network(4, 8)
    return PROGRAMS[name] if name in PROGRAMS else program_of(EXPORTED[name])


def built(*command: str | Path | None) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_gxx
@pytest.mark.parametrize("name", NAMES)
def test_cxx_calls_c_and_compiles_it(name: str, tmp_path: Path) -> None:
    program(name).export(tmp_path / "c")
    model, selftest = tmp_path / "c" / "model.c", tmp_path / "c" / "test" / "selftest.c"
    built(GCC, "-std=c99", *STRICT, "-c", model, "-o", tmp_path / "c.o")
    built(GXX, *CXX, *STRICT, "-c", model, "-o", tmp_path / "cxx.o")
    built(GXX, *CXX, *STRICT, "-c", selftest, "-o", tmp_path / "main.o")
    for compiled in ("c.o", "cxx.o"):
        built(GXX, tmp_path / "main.o", tmp_path / compiled, "-o", tmp_path / "main")
        told = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout
        assert told == "7 windows, no difference\n"


TWO = """#include "{first}.h"
#include "{second}.h"
#include <stdio.h>
int main(void) {{
  static {first}_input a[{first_capitals}_STEPS * {first_capitals}_INPUTS];
  static {second}_input b[{second_capitals}_STEPS * {second_capitals}_INPUTS];
  printf("%d %d %s %s\\n", {first}_predict(a), {second}_predict(b), {first}_class_name(1), {second}_class_name(0));
  return 0;
}}
"""


@needs_gxx
@pytest.mark.parametrize("together", [False, True], ids=["linked", "in one file"])
def test_two_models_live_in_one_program(together: bool, tmp_path: Path) -> None:
    first, second = program("sparse"), program("window")
    first.export(tmp_path / "a", prefix="kws")
    second.export(tmp_path / "b", prefix="Gait2")
    main = TWO.format(first="kws", first_capitals="KWS", second="Gait2", second_capitals="GAIT2")
    if together:
        main = '#include "kws.c"\n#include "Gait2.c"\n' + main
    (tmp_path / "main.c").write_text(main, encoding="utf-8")
    sources = [] if together else [tmp_path / "a" / "kws.c", tmp_path / "b" / "Gait2.c"]
    include = (f"-I{tmp_path / 'a'}", f"-I{tmp_path / 'b'}")
    built(GCC, "-std=c99", "-pedantic", *STRICT, *include, tmp_path / "main.c", *sources, "-o", tmp_path / "main")
    told = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout.split()
    answers = [int(p.run(np.zeros((p.steps, 1, p.inputs), np.int64)).answers[0]) for p in (first, second)]
    assert told == [*map(str, answers), first.answers[1], second.answers[0]]


def test_every_name_and_macro_has_the_prefix(tmp_path: Path) -> None:
    program("window").export(tmp_path / "c", prefix="kws")
    for path in (tmp_path / "c").rglob("*"):
        if path.suffix in (".c", ".h", "") and path.is_file():
            text = path.read_text(encoding="utf-8")
            assert re.findall(r"(?i)\bmodel[_.]\w+", text) == [], path
    macros = re.findall(
        r"#define (\w+)", files(program("window"), "kws")["kws.c"] + files(program("window"), "kws")["kws.h"]
    )
    assert {m for m in macros if not m.startswith("KWS_")} == set()


NO_PREFIXES = ("", "2nd", "my-model", "int", "class", "a b", "x" * 33, "golden", "stdint", "String", "a_", "_a", "é")


@pytest.mark.parametrize("prefix", NO_PREFIXES)
def test_a_prefix_is_an_identifier(prefix: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^export\.prefix must [^\n]+; set export\.prefix=kws$"):
        program("lines").export(tmp_path / "c", prefix=prefix)
    assert not (tmp_path / "c").exists()


def test_every_c_file_of_the_folder_belongs_to_the_model(tmp_path: Path) -> None:
    program("lines").export(tmp_path / "c")
    assert [path.name for path in (tmp_path / "c").glob("*.c")] == ["model.c"]
    assert "main(" not in (tmp_path / "c" / "model.c").read_text(encoding="utf-8")


@needs_gxx
def test_class_names_are_a_table_whatever_they_hold(tmp_path: Path) -> None:
    names = ('say "yes"\\', "??/ no */ // %d", "Füße\n\x07")
    plain = program("lines")
    size = plain.classes
    named = IntegerProgram(
        **{
            k: getattr(plain, k) for k in ("steps", "values", "constants", "tables", "states", "step", "head", "logits")
        },
        class_names=(*names, *(f"c{k}" for k in range(size)))[:size],
    )
    named.export(tmp_path / "c")
    (tmp_path / "main.c").write_text(
        '#include "c/model.h"\n#include <stdio.h>\nint main(void) { int k; for (k = 0; k < 3; k++) '
        "fwrite(model_class_name(k), 1, 64, stdout); return 0; }\n".replace(
            "fwrite(model_class_name(k), 1, 64, stdout)", 'printf("%s%c", model_class_name(k), 0)'
        )
    )
    for compiler, standard in ((GCC, "c99"), (GXX, "c++11")):
        language = "c" if compiler == GCC else "c++"
        built(compiler, "-x", language, f"-std={standard}", *STRICT, tmp_path / "main.c", "-o", tmp_path / "main")
        told = subprocess.run([tmp_path / "main"], capture_output=True, check=True).stdout
        assert told.decode().split("\0")[:3] == list(names)


# ---- AVR ----------------------------------------------------------------------------------------------------------

CHIP = "-mmcu=atmega1284p"
AVR = (CHIP, *STRICT)
SKETCH = """#include "c/model.h"
#include <avr/io.h>
static model_state s;
int main() {
  model_input frame[MODEL_INPUTS] = {0};
  model_logit logits[MODEL_CLASSES];
  model_reset(&s);
  for (;;) {
    model_step(&s, frame);
    model_logits(&s, logits);
    PORTB = (uint8_t)model_answer(logits);
  }
}
"""


@needs_avr
@pytest.mark.parametrize("name", NAMES)
def test_a_sketch_builds_for_avr(name: str, tmp_path: Path) -> None:
    """From C with __flash and from C++ with PROGMEM; constants stay out of the RAM."""
    made = program(name)
    made.export(tmp_path / "c")
    model, sketch = tmp_path / "c" / "model.c", tmp_path / "sketch.cpp"
    sketch.write_text(SKETCH, encoding="utf-8")
    built(AVR_GXX, *AVR, "-std=gnu++11", "-c", sketch, "-o", tmp_path / "sketch.o")
    for compiler, flags in (
        (AVR_GCC, ("-std=gnu99",)),
        (AVR_GCC, ("-std=c99",)),
        (AVR_GXX, ("-x", "c++", "-std=gnu++11")),
    ):
        built(compiler, *AVR, *flags, "-c", model, "-o", tmp_path / "model.o")
        told = subprocess.run(["avr-size", tmp_path / "model.o"], capture_output=True, text=True, check=True).stdout  # noqa: S607
        text, data, bss = map(int, told.splitlines()[1].split()[:3])
        assert (data, bss) == (0, 0)
        assert text >= made.flash_bytes
        built(AVR_GXX, CHIP, tmp_path / "sketch.o", tmp_path / "model.o", "-o", tmp_path / "sketch.elf")


FIRMWARE = """#include <avr/io.h>
#include <avr/sleep.h>
#include <avr/interrupt.h>
#include "c/model.h"
static model_state s;
static void put(uint8_t c) {{ while (!(UCSR0A & (1 << UDRE0))) {{}} UDR0 = c; }}
static void number(int32_t n) {{
  char text[12]; int8_t k = 0; uint32_t m = n < 0 ? 0u - (uint32_t)n : (uint32_t)n;
  do {{ text[k++] = (char)('0' + m % 10); m /= 10; }} while (m);
  if (n < 0) put('-');
  while (k) put((uint8_t)text[--k]);
  put(' ');
}}
static const model_input windows[] = {{{windows}}};
int main(void) {{
  model_logit logits[MODEL_CLASSES];
  UCSR0B = (1 << TXEN0); UCSR0C = (1 << UCSZ01) | (1 << UCSZ00); UBRR0 = 0;
  put('<');
  for (size_t n = 0; n < {rows}; n++) {{
    model_reset(&s);
    for (size_t t = 0; t < MODEL_STEPS; t++) model_step(&s, windows + (n * MODEL_STEPS + t) * MODEL_INPUTS);
    model_logits(&s, logits);
    for (uint8_t k = 0; k < MODEL_CLASSES; k++) number(logits[k]);
  }}
  put('>'); put('\\n'); while (!(UCSR0A & (1 << TXC0))) {{}}
  cli(); sleep_enable(); sleep_cpu();
  return 0;
}}
"""


@needs_avr
@pytest.mark.skipif(SIMAVR is None, reason="needs simavr")
@pytest.mark.parametrize("language", ["gnu99", "c99", "gnu++11"])
@pytest.mark.parametrize("name", ["dense", "lines", "sparse", "window"])
def test_an_emulated_avr_gives_the_interpreters_logits(name: str, language: str, tmp_path: Path) -> None:
    made = program(name)
    made.export(tmp_path / "c")
    given = made.values["input"].format
    rows = max(1, min(3, 300 // (made.steps * made.inputs)))
    x = np.random.default_rng(0).integers(given.low, given.high + 1, (made.steps, rows, made.inputs))
    numbers = ", ".join(map(str, x.transpose(1, 0, 2).reshape(-1).tolist()))
    (tmp_path / "main.c").write_text(FIRMWARE.format(windows=numbers, rows=rows), encoding="utf-8")
    cxx = language.startswith("gnu++")
    compiler, kind = (AVR_GXX, ("-x", "c++")) if cxx else (AVR_GCC, ())
    built(compiler, *AVR, *kind, f"-std={language}", "-c", tmp_path / "c" / "model.c", "-o", tmp_path / "model.o")
    built(AVR_GCC, *AVR, "-std=gnu99", "-c", tmp_path / "main.c", "-o", tmp_path / "main.o")
    built(AVR_GXX, CHIP, tmp_path / "main.o", tmp_path / "model.o", "-o", tmp_path / "main.elf")
    command = [str(SIMAVR), "-m", "atmega1284p", "-f", "16000000", str(tmp_path / "main.elf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    between = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr).partition("<")[2].partition(">")[0]
    told = re.findall(r"-?\d+", between)
    assert list(map(int, told)) == made.run(x).logits.reshape(-1).tolist()


@needs_avr
def test_a_window_beyond_32767_numbers_is_counted_without_overflow(tmp_path: Path) -> None:
    """256 frames of 200 values: int has 16 bits on AVR, where the compiler warns of a product that does not fit."""
    long = IntegerProgram(
        256, {"input": Value(200, Format(8, 4)), **{name: Value(2, Format(16, 4)) for name in ("h", "p", "y")}},
        {"M": Constant(np.ones((2, 200), np.int64), Format(2, 0))}, {}, {"h": "p"},
        (Affine("p", (("M", "input"),)),), (Combine("y", (Term(("h",)),)),), "y",
    )  # fmt: skip
    long.export(tmp_path / "c")
    for compiler, flags in ((AVR_GCC, ("-std=gnu99",)), (AVR_GXX, ("-x", "c++", "-std=gnu++11"))):
        target = ("-o", tmp_path / "model.o")
        built(compiler, "-mmcu=atmega2560", *STRICT, *flags, "-c", tmp_path / "c" / "model.c", *target)
