// What a call of the op computes, whatever runs it.
#pragma once

#include <cstdint>

#include "cell_math.h"

namespace rnn {

// Values in a block of saved pre-activations: whole vectors of any instruction set.
RNN_INLINE int64_t padded(int64_t H) { return (H + 15) / 16 * 16; }

struct Problem {
  Cell cell;
  Nonlinearity gate, update;
  int64_t T, B, D, H;
  bool reverse;            // from the last step to the first
  const int64_t* lengths;  // (B,) or null; at steps t >= length a row keeps its state and its output is zero
  int64_t x_step, x_row;   // strides of x (T, B, D); features are contiguous
};

}  // namespace rnn
