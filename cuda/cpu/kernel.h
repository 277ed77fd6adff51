// The CPU kernel's interface: one call runs rows [first, last) of a batch through all steps, forward or backward.
// Every instruction set has its own copy in its own namespace; dispatch.cpp chooses one at run time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../problem.h"

namespace rnn {

template <class T> struct Weights {
  const T *W, *U, *bias;      // (D, blocks * H), (H, blocks * H), (biases, H)
  T first, second;            // scalars of FastRNN and FastGRNN, after their sigmoid
};

template <class T> struct Sequence {
  const T *x, *h0, *c0;       // h0, c0 (B, H): null for zeros
  T *out, *h_last, *c_last;   // (T, B, H), (B, H), (B, H); c_last for the LSTM only
  T *pre, *cells;             // saved for backward, (T, B, saved * padded(H)) and, LSTM, (T, B, H); null for inference
};

template <class T> struct SequenceGradients {
  const T *out, *h_last, *c_last;  // incoming, any of them null
  int64_t out_step, out_row;       // strides of `out`; units are contiguous
  T *x, *h0, *c0;                  // outgoing: (T, B, D) or null, (B, H), (B, H) for the LSTM
};

template <class T> struct WeightGradients {
  T *W, *U, *bias;                 // shapes of the weights; overwritten with the rows' share
  double first, second;
};

constexpr int kTileRows = 36;

#define RNN_DECLARE(ISA)                                                                                        \
  namespace ISA {                                                                                               \
  template <class T> size_t workspace(const Problem&);                                                          \
  template <class T> void forward_rows(const Problem&, const Weights<T>&, const Sequence<T>&, int64_t first,    \
                                       int64_t last, T* workspace);                                             \
  template <class T> void backward_rows(const Problem&, const Weights<T>&, const Sequence<T>&,                  \
                                        const SequenceGradients<T>&, WeightGradients<T>&, int64_t first,        \
                                        int64_t last, T* workspace);                                            \
  }
RNN_DECLARE(plain)
RNN_DECLARE(avx2)
RNN_DECLARE(avx512)
#undef RNN_DECLARE

}  // namespace rnn
