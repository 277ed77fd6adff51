#include "dispatch.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace rnn {
namespace {

template <class T> struct Kernels {
  decltype(&plain::workspace<T>) workspace;
  decltype(&plain::forward_rows<T>) forward_rows;
  decltype(&plain::backward_rows<T>) backward_rows;
};

template <class T> Kernels<T> kernels() {
  switch (instruction_set()) {
#if defined(__x86_64__)
    case InstructionSet::AVX512: return {avx512::workspace<T>, avx512::forward_rows<T>, avx512::backward_rows<T>};
    case InstructionSet::AVX2: return {avx2::workspace<T>, avx2::forward_rows<T>, avx2::backward_rows<T>};
#endif
    default: return {plain::workspace<T>, plain::forward_rows<T>, plain::backward_rows<T>};
  }
}

// Parts are runs of whole tiles, spread evenly.
int64_t tiles_of(const Problem& p) { return (p.B + kTileRows - 1) / kTileRows; }
int64_t parts_of(const Problem& p, int threads) { return std::min<int64_t>(threads, tiles_of(p)); }
int64_t first_row(const Problem& p, int64_t part, int64_t parts) {
  return std::min(p.B, tiles_of(p) * part / parts * kTileRows);
}

int64_t blocks_of(Cell c) { return c == Cell::LSTM ? 4 : c >= Cell::GRUBefore ? 3 : c == Cell::UGRNN ? 2 : 1; }
int64_t biases_of(Cell c) { return c == Cell::FastGRNN ? 2 : c == Cell::GRUAfter ? 4 : blocks_of(c); }

// Numbers in the gradients of W, U and the biases.
struct Counts {
  int64_t W, U, bias;
  explicit Counts(const Problem& p)
      : W(blocks_of(p.cell) * p.D * p.H), U(blocks_of(p.cell) * p.H * p.H), bias(biases_of(p.cell) * p.H) {}
  int64_t all() const { return W + U + bias; }
};

template <class T> void add(T* to, const T* from, int64_t count) {
  for (int64_t i = 0; i < count; i++) to[i] += from[i];
}

// Calls work(part) on every part through `parallel`, which takes a plain function.
template <class F> void for_parts(int64_t parts, Parallel parallel, const F& work) {
  parallel(parts, [](int64_t part, void* context) { (*static_cast<const F*>(context))(part); }, const_cast<F*>(&work));
}

}  // namespace

InstructionSet instruction_set() {
  static const InstructionSet chosen = [] {
#if defined(__x86_64__)
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    const char* asked = std::getenv("EDGESEARCH_ISA");
    const bool plain_asked = asked && !std::strcmp(asked, "plain"), avx2_asked = asked && !std::strcmp(asked, "avx2");
    if (avx512 && !plain_asked && !avx2_asked) return InstructionSet::AVX512;
    if (avx2 && !plain_asked) return InstructionSet::AVX2;
#endif
    return InstructionSet::Plain;
  }();
  return chosen;
}

template <class T> size_t workspace_size(const Problem& p, int threads) {
  return (kernels<T>().workspace(p) + Counts(p).all()) * parts_of(p, threads);
}

template <class T>
void forward(const Problem& p, const Weights<T>& w, const Sequence<T>& s, int threads, Parallel parallel, T* workspace) {
  const Kernels<T> k = kernels<T>();
  const int64_t parts = parts_of(p, threads);
  const size_t stride = k.workspace(p);
  for_parts(parts, parallel, [&](int64_t part) {
    k.forward_rows(p, w, s, first_row(p, part, parts), first_row(p, part + 1, parts), workspace + part * stride);
  });
}

template <class T>
void backward(const Problem& p, const Weights<T>& w, const Sequence<T>& s, const SequenceGradients<T>& g,
              WeightGradients<T>& totals, int threads, Parallel parallel, T* workspace) {
  const Kernels<T> k = kernels<T>();
  const int64_t parts = parts_of(p, threads);
  const size_t stride = k.workspace(p);
  const Counts count(p);
  std::vector<WeightGradients<T>> partial(parts, totals);
  for (int64_t part = 1; part < parts; part++) {
    T* own = workspace + parts * stride + (part - 1) * count.all();
    partial[part] = {own, own + count.W, own + count.W + count.U, 0, 0};
  }
  for_parts(parts, parallel, [&](int64_t part) {
    k.backward_rows(p, w, s, g, partial[part], first_row(p, part, parts), first_row(p, part + 1, parts),
                    workspace + part * stride);
  });
  totals.first = partial[0].first;
  totals.second = partial[0].second;
  for (int64_t part = 1; part < parts; part++) {
    add(totals.W, partial[part].W, count.W);
    add(totals.U, partial[part].U, count.U);
    add(totals.bias, partial[part].bias, count.bias);
    totals.first += partial[part].first;
    totals.second += partial[part].second;
  }
}

#define RNN_INSTANTIATE(T)                                                                                          \
  template size_t workspace_size<T>(const Problem&, int);                                                           \
  template void forward<T>(const Problem&, const Weights<T>&, const Sequence<T>&, int, Parallel, T*);               \
  template void backward<T>(const Problem&, const Weights<T>&, const Sequence<T>&, const SequenceGradients<T>&,     \
                            WeightGradients<T>&, int, Parallel, T*);
RNN_INSTANTIATE(float)
RNN_INSTANTIATE(double)

}  // namespace rnn
