// Registers edgesearch::rnn_forward and rnn_backward with torch, over its stable ABI: one build serves several versions.
// Here are the schemas and the CPU implementation.
#include <cmath>
#include <vector>

#include "arguments.h"
#include "cpu/dispatch.h"

namespace rnn {
namespace {

// Scratch memory that a thread keeps from call to call: fresh pages would cost more than a small model's arithmetic.
template <class V> V* scratch(size_t count) {
  thread_local std::vector<V> memory;
  if (memory.size() < count) memory.resize(count);
  return memory.data();
}

void run_parallel(int64_t count, Body body, void* context) {
  if (count == 1) return body(0, context);
  torch::stable::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; part++) body(part, context);
  });
}

// Biases side by side in `biases`, scalars through their sigmoid.
template <class V> Weights<V> weights(const Arguments& a, std::vector<V>& biases) {
  biases.clear();
  for (const MaybeTensor& b : a.bias)
    if (b) biases.insert(biases.end(), data<V>(*b), data<V>(*b) + a.problem.H);
  auto value = [](const MaybeTensor& s) { return s ? V(1) / (V(1) + std::exp(-data<V>(*s)[0])) : V(0); };
  return {data<V>(a.W), data<V>(a.U), biases.data(), value(a.scalars[0]), value(a.scalars[1])};
}

ForwardResult rnn_forward(Tensor x, MaybeTensor h0, MaybeTensor c0, Tensor W, Tensor U, Tensor b0, MaybeTensor b1,
                          MaybeTensor b2, MaybeTensor b3, MaybeTensor first, MaybeTensor second, MaybeTensor lengths,
                          int64_t cell, int64_t gate, int64_t update, bool reverse, bool save) {
  const Arguments a(x, h0, c0, W, U, {b0, b1, b2, b3}, first, second, lengths, cell, gate, update, reverse);
  const ForwardTensors to(a, save);
  const int threads = (int)torch::stable::get_num_threads();
  by_dtype(x, [&](auto type) {
    using V = decltype(type);
    std::vector<V> biases;
    const Sequence<V> s{data<V>(a.x), data<V>(a.h0), data<V>(a.c0), data<V>(to.out), data<V>(to.h_last), data<V>(to.c_last),
                        save ? data<V>(to.pre) : nullptr, save && a.lstm() ? data<V>(to.cells) : nullptr};
    forward<V>(a.problem, weights(a, biases), s, threads, run_parallel, scratch<V>(workspace_size<V>(a.problem, threads)));
  });
  return to.result();
}

BackwardResult rnn_backward(MaybeTensor d_out, MaybeTensor d_h, MaybeTensor d_c, Tensor x, MaybeTensor h0, MaybeTensor c0,
                            Tensor W, Tensor U, Tensor b0, MaybeTensor b1, MaybeTensor b2, MaybeTensor b3,
                            MaybeTensor first, MaybeTensor second, MaybeTensor lengths, Tensor out, Tensor pre,
                            Tensor cells, int64_t cell, int64_t gate, int64_t update, bool reverse, bool need_x) {
  const Arguments a(x, h0, c0, W, U, {b0, b1, b2, b3}, first, second, lengths, cell, gate, update, reverse);
  const int64_t H = a.problem.H;
  if (d_out) d_out = dense_rows(*d_out);
  d_h = dense(d_h);
  d_c = dense(d_c);
  const BackwardTensors to(a, need_x);
  const int threads = (int)torch::stable::get_num_threads();
  by_dtype(x, [&](auto type) {
    using V = decltype(type);
    std::vector<V> biases, bias_gradients(a.biases() * H);
    const Sequence<V> s{data<V>(a.x), data<V>(a.h0), data<V>(a.c0), data<V>(out), nullptr, nullptr, data<V>(pre),
                        a.lstm() ? data<V>(cells) : nullptr};
    const SequenceGradients<V> g{data<V>(d_out), data<V>(d_h), data<V>(d_c), d_out ? d_out->stride(0) : 0,
                                 d_out ? d_out->stride(1) : 0, need_x ? data<V>(to.x) : nullptr, data<V>(to.h0),
                                 data<V>(to.c0)};
    const Weights<V> w = weights(a, biases);
    WeightGradients<V> totals{data<V>(to.W), data<V>(to.U), bias_gradients.data(), 0, 0};
    V* workspace = scratch<V>(workspace_size<V>(a.problem, threads));
    backward<V>(a.problem, w, s, g, totals, threads, run_parallel, workspace);
    for (int k = 0; k < a.biases(); k++) std::copy_n(bias_gradients.data() + k * H, H, data<V>(to.bias[k]));
    if (a.scalars[0]) {
      data<V>(to.scalars[0])[0] = (V)(totals.first * w.first * (1 - (double)w.first));
      data<V>(to.scalars[1])[0] = (V)(totals.second * w.second * (1 - (double)w.second));
    }
  });
  return to.result();
}

}  // namespace
}  // namespace rnn

STABLE_TORCH_LIBRARY(edgesearch, m) {
  m.def("rnn_forward(Tensor x, Tensor? h0, Tensor? c0, Tensor W, Tensor U, Tensor b0, Tensor? b1, Tensor? b2, Tensor? b3, "
        "Tensor? first, Tensor? second, Tensor? lengths, int cell, int gate, int update, bool reverse, bool save) -> "
        "(Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def("rnn_backward(Tensor? d_out, Tensor? d_h, Tensor? d_c, Tensor x, Tensor? h0, Tensor? c0, Tensor W, Tensor U, "
        "Tensor b0, Tensor? b1, Tensor? b2, Tensor? b3, Tensor? first, Tensor? second, Tensor? lengths, Tensor out, "
        "Tensor pre, Tensor cells, int cell, int gate, int update, bool reverse, bool need_x) -> "
        "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}
STABLE_TORCH_LIBRARY_IMPL(edgesearch, CPU, m) {
  m.impl("rnn_forward", TORCH_BOX(&rnn::rnn_forward));
  m.impl("rnn_backward", TORCH_BOX(&rnn::rnn_backward));
}
