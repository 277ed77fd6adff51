"""The fixed parts of an exported C folder."""

from edgesearch.export.frames import bullets
from edgesearch.numerics.operations import Affine, Apply
from edgesearch.numerics.program import IntegerProgram

FRONT_END = "front end"  # of what is said about a program: how samples became frames

HEADER = """/* Made by edgesearch. A classifier in integers: feed frames, ask for the answer. */
#ifndef MODEL_H
#define MODEL_H
#include <float.h>
#include <stdint.h>

#define MODEL_STEPS {steps}    /* frames of a window */
#define MODEL_INPUTS {inputs}  /* values of a frame */
#define MODEL_CLASSES {classes}

{words}
typedef {input} model_input;
typedef {logit} model_logit;

typedef struct {{
{states}
}} model_state;

/* The model was trained and measured on windows of MODEL_STEPS frames that begin with model_reset. A state that goes on
   into a further window without it gives answers that nobody has measured, and often wrong ones.{frames}

   All functions are re-entrant: what they remember is in *s. */
void model_reset(model_state *s);
void model_step(model_state *s, const model_input frame[MODEL_INPUTS]);
void model_logits(const model_state *s, model_logit logits[MODEL_CLASSES]);
int model_answer(const model_logit logits[MODEL_CLASSES]); /* the first largest */

/* A whole window, frame after frame. */
int model_predict(const model_input window[MODEL_STEPS * MODEL_INPUTS]);

{helper}

#endif
"""

PRELUDE = """/* Made by edgesearch from an integer program; its numbers are those that were measured. C99. */
#include "model.h"

#if defined(__AVR__)
#define ROM const __flash
#else
#define ROM const
#endif

/* THE rounding rule: halves upwards, by an arithmetic shift. */
#define ROUND_SHIFT(type, v, s) (((v) + ((type)1 << ((s) - 1))) >> (s))
#define CLAMP(type, v, low, high) clamp_##type(v, low, high)
typedef char arithmetic_shift_needed[(-1 >> 1) == -1 ? 1 : -1];

#ifndef MODEL_TRACE
#define MODEL_TRACE(operation, unit, value)
#endif
#if defined(__GNUC__)
#define MAYBE_UNUSED __attribute__((unused))
#else
#define MAYBE_UNUSED
#endif

MAYBE_UNUSED static int32_t clamp_int32_t(int32_t v, int32_t low, int32_t high) {
  return v < low ? low : v > high ? high : v;
}
MAYBE_UNUSED static int64_t clamp_int64_t(int64_t v, int32_t low, int32_t high) {
  return v < low ? low : v > high ? high : v;
}
MAYBE_UNUSED static int unpacked_4(ROM uint8_t *w, uint32_t at) {
  return ((w[at >> 1] >> (at & 1) * 4 & 15) ^ 8) - 8;
}
MAYBE_UNUSED static int unpacked_2(ROM uint8_t *w, uint32_t at) {
  return ((w[at >> 2] >> (at & 3) * 2 & 3) ^ 2) - 2;
}
"""

WINDOW_STEP = """  for (i = 0; i < MODEL_INPUTS; i++) s->window[s->frames * MODEL_INPUTS + i] = frame[i];
  s->frames = s->frames + 1 == MODEL_STEPS ? 0 : s->frames + 1;"""

TAIL = """void model_reset(model_state *s) {{
  int i;
{resets}
}}

void model_step(model_state *s, const model_input frame[MODEL_INPUTS]) {{
{step}
}}

void model_logits(const model_state *s, model_logit logits[MODEL_CLASSES]) {{
{head}
}}

int model_answer(const model_logit logits[MODEL_CLASSES]) {{
  int k, best = 0;
  for (k = 1; k < MODEL_CLASSES; k++)
    if (logits[k] > logits[best]) best = k;
  return best;
}}

int model_predict(const model_input window[MODEL_STEPS * MODEL_INPUTS]) {{
  model_state s;
  model_logit logits[MODEL_CLASSES];
  int t;
  model_reset(&s);
  for (t = 0; t < MODEL_STEPS; t++) model_step(&s, window + (int32_t)t * MODEL_INPUTS);
  model_logits(&s, logits);
  return model_answer(logits);
}}
"""

SELFTEST = """/* Runs the golden windows; prints the first difference and returns 1, or says that there is none. */
#include <stdio.h>

#include "model.h"

#include "golden.h"

int main(void) {
  int n, k, t;
  for (n = 0; n < GOLDEN; n++) {
    model_state s;
    model_logit logits[MODEL_CLASSES];
    model_reset(&s);
    for (t = 0; t < MODEL_STEPS; t++) model_step(&s, golden_windows + (n * MODEL_STEPS + t) * MODEL_INPUTS);
    model_logits(&s, logits);
    for (k = 0; k < MODEL_CLASSES; k++)
      if (logits[k] != golden_logits[n * MODEL_CLASSES + k]) {
        printf("window %d, class %d: %ld instead of %ld\\n", n, k, (long)logits[k],
               (long)golden_logits[n * MODEL_CLASSES + k]);
        return 1;
      }
    if (model_predict(golden_windows + n * MODEL_STEPS * MODEL_INPUTS) != golden_answers[n]) {
      printf("window %d: another answer than %d\\n", n, golden_answers[n]);
      return 1;
    }
  }
  printf("%d windows, no difference\\n", GOLDEN);
  return 0;
}
"""

MAKEFILE = """CC ?= cc
CFLAGS ?= -std=c99 -O2 -Wall -Wextra -pedantic

test: selftest
\t./selftest

selftest: selftest.c model.c model.h golden.h
\t$(CC) $(CFLAGS) -o $@ selftest.c model.c

clean:
\trm -f selftest
"""


def readme(program: IntegerProgram, ram: int) -> str:
    """Return the folder's README."""
    about = "\n".join(f"* {key}: {value}" for key, value in program.about.items() if key != FRONT_END)
    return f"""# A classifier in integers

Made by edgesearch. `make test` compiles it and runs the golden windows.

{about}
* constants in flash: {program.flash_bytes} bytes, sparse indices and tables included; code comes on top
* RAM: {ram} bytes: states, one frame, scratch of a step, logits
* multiply-accumulates: {program.macs} for a window of {program.steps} frames
{bullets(program)}
* scaling by mean and standard deviation is part of the model{_front_end(program)}

## Use

    model_state s;
    model_input frame[MODEL_INPUTS];
    for (;;) {{
      model_reset(&s);                                /* every window of {program.steps} frames begins with it */
      for (t = 0; t < MODEL_STEPS; t++) {{
        for (d = 0; d < MODEL_INPUTS; d++) frame[d] = model_quantize(d, value[d]);    /* in the channels' units */
        model_step(&s, frame);
      }}
      model_logits(&s, logits);
      answer = model_answer(logits);
    }}

or `model_predict(window)` for a whole window. Nothing is allocated and nothing is shared between two `model_state`.

**Reset.** The model was trained and measured on windows of {program.steps} frames that begin with `model_reset`.
Without it the state of one window runs into the next, and the answers soon are no better than a guess. For answers more
often than every {program.steps} frames keep several `model_state`, each reset at the start of its own window, or keep
the last {program.steps} frames and call `model_predict`.

## Formats

`s16.12`: signed, 16 bits, the integer n stands for n / 2^12 (`s16.20`: n / 2^20). Every sum is exact, in as many bits
as the last column says, rounded once, halves upwards, then held to its format.

| vector | size | format | sum |
|---|---|---|---|
{_values(program)}

| constant | shape | format | stored | bytes |
|---|---|---|---|---|
{_constants(program)}

{_tables(program)}
"""


def _front_end(program: IntegerProgram) -> str:
    words = program.about.get(FRONT_END)
    return f"\n* frames are not raw samples but {words}" if words else ""


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
