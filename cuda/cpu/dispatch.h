// Chooses the kernel for this processor and shares a batch's row tiles out to threads.
#pragma once

#include "kernel.h"

namespace rnn {

enum class InstructionSet { Plain, AVX2, AVX512 };

// The widest set this processor runs, or the one that EDGESEARCH_ISA (plain, avx2, avx512) names if it is available.
InstructionSet instruction_set();

// parallel(count, body): calls body(part) for every part in [0, count), possibly at once.
using Body = void (*)(int64_t part, void* context);
using Parallel = void (*)(int64_t count, Body body, void* context);

template <class T> size_t workspace_size(const Problem& p, int threads);

template <class T>
void forward(const Problem& p, const Weights<T>& w, const Sequence<T>& s, int threads, Parallel parallel, T* workspace);

// Gradients of the weights are summed over the parts in their order, so that a thread count always gives the same bits.
template <class T>
void backward(const Problem& p, const Weights<T>& w, const Sequence<T>& s, const SequenceGradients<T>& g,
              WeightGradients<T>& totals, int threads, Parallel parallel, T* workspace);

}  // namespace rnn
