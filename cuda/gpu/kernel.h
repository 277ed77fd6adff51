// The CUDA kernels' interface: the recurrence of a whole sequence in one launch, forward or backward. Products with W and
// of gradients with inputs and states are large matrix products outside; see op.h.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "../problem.h"

namespace rnn::gpu {

// How a launch is laid out. A block takes `rows` rows of the batch through all steps; its threads are `units` hidden units
// by groups of rows, `per_thread` rows each.
struct Plan {
  int units, groups, per_thread;
  int64_t blocks;
  bool fits;                // U and the state lie in shared memory; otherwise U is read from global memory
  size_t shared_bytes;
  size_t scratch;           // values of global memory for the state of all blocks, where shared memory is too small
  int rows() const { return groups * per_thread; }
};

// For the current device. Backward launches have the same rows as forward ones but other memory.
template <class T> cudaError_t plan(const Problem& p, bool backward, Plan* to);

// Device pointers. bias: as many as the cell has. first, second: FastRNN's and FastGRNN's scalars before the sigmoid.
template <class T> struct Parameters {
  const T* bias[4];
  const T *first, *second;
};

template <class T> struct Forward {
  const T *xw, *U;            // (T, B, blocks * H), (H, blocks * H)
  const T *h0, *c0;           // (B, H) or null for zeros
  T *out, *h_last, *c_last;   // (T, B, H), (B, H), (B, H)
  T *pre, *cells;             // saved for backward, (T, B, saved * padded(H)) and (T, B, H), or null
  T* scratch;
};

template <class T> struct Backward {
  const T* Ut;                         // (blocks * H, H): U transposed
  const T *h0, *c0, *out, *pre, *cells;
  const T *d_out, *d_h_last, *d_c_last;  // any of them null
  int64_t d_out_step, d_out_row;
  T* d_pre;                            // (T, B, saved * H): gradients of the pre-activations
  T *before, *reset;                   // (T, B, H): h before each step, and the reset gate times it (GRUBefore)
  T *d_h0, *d_c0;                      // (B, H)
  T* bias_sums;                        // (blocks * groups, biases, H)
  double* scalar_sums;                 // (blocks * threads of a block, 2): FastRNN's and FastGRNN's scalars
  T* scratch;
};

template <class T> struct Reduced {
  T* bias[4];
  T *first, *second;
};

template <class T>
cudaError_t forward(const Problem& p, const Plan& plan, const Parameters<T>& w, const Forward<T>& s, cudaStream_t stream);

template <class T>
cudaError_t backward(const Problem& p, const Plan& plan, const Parameters<T>& w, const Backward<T>& s, cudaStream_t stream);

// Adds up what the blocks of a backward launch found, always in the same order.
template <class T>
cudaError_t reduce(const Problem& p, const Plan& plan, const Parameters<T>& w, const Backward<T>& s, const Reduced<T>& to,
                   cudaStream_t stream);

}  // namespace rnn::gpu
