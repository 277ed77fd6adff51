"""The fixed parts of an exported C folder, written for the prefix `model`."""

STATE_RESET = """The model was trained and measured on windows of MODEL_STEPS frames that begin with model_reset. A
   state that goes on into a further window without it gives answers that nobody has measured, and often wrong ones."""
WINDOW_RESET = """The model looks at whole windows of MODEL_STEPS frames; after so many steps the next one begins by
   itself, and model_reset begins one at any time."""
HEADER = """/* Made by edgesearch. {conditions}
   A classifier in integers: feed frames, ask for the answer. */
#ifndef MODEL_H
#define MODEL_H
#include <float.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define MODEL_STEPS {steps}    /* frames of a window */
#define MODEL_INPUTS {inputs}  /* values of a frame */
#define MODEL_CLASSES {classes}

{words}
typedef {input} model_input;
typedef {logit} model_logit;

typedef struct {{
{states}
}} model_state;

/* {reset}{frames}

   All functions are re-entrant: what they remember is in *s. */
void model_reset(model_state *s);
void model_step(model_state *s, const model_input frame[MODEL_INPUTS]);
void model_logits(const model_state *s, model_logit logits[MODEL_CLASSES]);
int model_answer(const model_logit logits[MODEL_CLASSES]); /* the first largest */

/* A whole window of MODEL_STEPS * MODEL_INPUTS values, frame after frame. */
int model_predict(const model_input *window);

/* The names of the answers; firmware that does not ask for them pays nothing. */
#define MODEL_CLASS_NAMES {{ \\
{names} }}
static inline const char *model_class_name(int answer) {{
  static const char *const names[MODEL_CLASSES] = MODEL_CLASS_NAMES;
  return names[answer];
}}

{helper}

#ifdef __cplusplus
}}
#endif

#endif
"""

PRELUDE = """/* Made by edgesearch from an integer program; its numbers are those that were measured.
   {conditions} C99 or C++.
   What begins with model_ and ends in _ is a constant of the program; in a function, what ends in _ is one of its
   vectors and what ends in _i the unit i of one. */
#include "model.h"

/* Constants stay in flash. AVR needs to be told: by __flash in C (-std=gnu99), else by PROGMEM. */
#if defined(__AVR__) && defined(__FLASH) && !defined(__STRICT_ANSI__)
#define MODEL_ROM const __flash
#define MODEL_PLACE
#define MODEL_AT(type, p) (*(p))
#elif defined(__AVR__)
#define MODEL_PROGMEM
#include <avr/pgmspace.h>
#define MODEL_ROM const
#define MODEL_PLACE PROGMEM
#define MODEL_AT(type, p) model_at_##type(p)
#else
#define MODEL_ROM const
#define MODEL_PLACE
#define MODEL_AT(type, p) (*(p))
#endif

/* THE rounding rule: halves upwards, by an arithmetic shift. */
#define MODEL_ROUND_SHIFT(type, v, s) (((v) + ((type)1 << ((s) - 1))) >> (s))
#define MODEL_CLAMP(type, v, low, high) model_clamp_##type(v, low, high)
typedef char model_arithmetic_shift_needed[(-1 >> 1) == -1 ? 1 : -1];

#ifndef MODEL_TRACE
#define MODEL_TRACE(operation, unit, value)
#endif
#if defined(__GNUC__)
#define MODEL_MAYBE_UNUSED __attribute__((unused))
#define MODEL_MAY_ALIAS __attribute__((may_alias))
#else
#define MODEL_MAYBE_UNUSED
#define MODEL_MAY_ALIAS
#endif

/* Numbers of vectors that take turns in one piece of memory. */
typedef int8_t MODEL_MAY_ALIAS model_turn_int8_t;
typedef uint8_t MODEL_MAY_ALIAS model_turn_uint8_t;
typedef int16_t MODEL_MAY_ALIAS model_turn_int16_t;
typedef uint16_t MODEL_MAY_ALIAS model_turn_uint16_t;
typedef int32_t MODEL_MAY_ALIAS model_turn_int32_t;

#if defined(MODEL_PROGMEM)
MODEL_MAYBE_UNUSED static int8_t model_at_int8_t(const int8_t *p) { return (int8_t)pgm_read_byte(p); }
MODEL_MAYBE_UNUSED static uint8_t model_at_uint8_t(const uint8_t *p) { return (uint8_t)pgm_read_byte(p); }
MODEL_MAYBE_UNUSED static int16_t model_at_int16_t(const int16_t *p) { return (int16_t)pgm_read_word(p); }
MODEL_MAYBE_UNUSED static uint16_t model_at_uint16_t(const uint16_t *p) { return (uint16_t)pgm_read_word(p); }
MODEL_MAYBE_UNUSED static int32_t model_at_int32_t(const int32_t *p) { return (int32_t)pgm_read_dword(p); }
MODEL_MAYBE_UNUSED static uint32_t model_at_uint32_t(const uint32_t *p) { return (uint32_t)pgm_read_dword(p); }
#endif
MODEL_MAYBE_UNUSED static int32_t model_clamp_int32_t(int32_t v, int32_t low, int32_t high) {
  return v < low ? low : v > high ? high : v;
}
MODEL_MAYBE_UNUSED static int64_t model_clamp_int64_t(int64_t v, int32_t low, int32_t high) {
  return v < low ? low : v > high ? high : v;
}
MODEL_MAYBE_UNUSED static int model_unpacked_4(MODEL_ROM uint8_t *w, uint32_t at) {
  return ((MODEL_AT(uint8_t, w + (at >> 1)) >> (at & 1) * 4 & 15) ^ 8) - 8;
}
MODEL_MAYBE_UNUSED static int model_unpacked_2(MODEL_ROM uint8_t *w, uint32_t at) {
  return ((MODEL_AT(uint8_t, w + (at >> 2)) >> (at & 3) * 2 & 3) ^ 2) - 2;
}
"""

WINDOW_STEP = """  for (i = 0; i < MODEL_INPUTS; i++) s->window[s->frames * MODEL_INPUTS + i] = frame[i];
  s->frames = s->frames + 1 == MODEL_STEPS ? 0 : s->frames + 1;"""

TAIL = """void model_reset(model_state *s) {{
  size_t i;
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

int model_predict(const model_input *window) {{
  model_state s;
  model_logit logits[MODEL_CLASSES];
  size_t t;
  model_reset(&s);
  for (t = 0; t < MODEL_STEPS; t++) model_step(&s, window + t * MODEL_INPUTS);
  model_logits(&s, logits);
  return model_answer(logits);
}}
"""

SELFTEST = """/* Runs the golden windows; prints the first difference and returns 1, or says that there is none. */
#include <stdio.h>

#include "../model.h"

#include "golden.h"

int main(void) {
  int n, k;
  size_t t;
  for (n = 0; n < GOLDEN; n++) {
    const model_input *window = golden_windows + (size_t)n * MODEL_STEPS * MODEL_INPUTS;
    model_state s;
    model_logit logits[MODEL_CLASSES];
    model_reset(&s);
    for (t = 0; t < MODEL_STEPS; t++) model_step(&s, window + t * MODEL_INPUTS);
    model_logits(&s, logits);
    for (k = 0; k < MODEL_CLASSES; k++)
      if (logits[k] != golden_logits[n * MODEL_CLASSES + k]) {
        printf("window %d, class %d: %ld instead of %ld\\n", n, k, (long)logits[k],
               (long)golden_logits[n * MODEL_CLASSES + k]);
        return 1;
      }
    if (model_predict(window) != golden_answers[n]) {
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

test: test/selftest
\t./test/selftest

test/selftest: test/selftest.c test/golden.h model.c model.h
\t$(CC) $(CFLAGS) -o $@ test/selftest.c model.c

clean:
\trm -f test/selftest

.PHONY: test clean
"""
