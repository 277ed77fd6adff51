// Registers edgesearch::rnn_forward and rnn_backward with torch, over its stable ABI: one build serves several versions.
//
// Shapes: x (T, B, D) with contiguous features; W (D, blocks * H); U (H, blocks * H); b0..b3 (H,), as many as the cell
// has; first, second: FastRNN's alpha and beta or FastGRNN's zeta and nu, one value each, before the sigmoid; h0, c0
// (B, H); lengths (B,) int64. All floating tensors share one dtype.
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <tuple>
#include <vector>

#include "cpu/dispatch.h"

namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using MaybeTensor = std::optional<Tensor>;

constexpr int kBlocks[] = {1, 1, 2, 3, 3, 4}, kSaved[] = {1, 1, 2, 3, 4, 4}, kBiases[] = {1, 2, 2, 3, 4, 4};

template <class T> T* data(const Tensor& t) { return static_cast<T*>(t.data_ptr()); }
template <class T> T* data(const MaybeTensor& t) { return t ? data<T>(*t) : nullptr; }

Tensor dense(const Tensor& t) { return t.is_contiguous() ? t : torch::stable::contiguous(t); }
MaybeTensor dense(const MaybeTensor& t) { return t ? MaybeTensor(dense(*t)) : t; }
Tensor dense_rows(const Tensor& t) { return t.size(2) <= 1 || t.stride(2) == 1 ? t : torch::stable::contiguous(t); }

// Contiguous, on the device and of the dtype of `like`. torch::stable::new_empty, through the dispatcher, takes four
// times as long, and an op on a small model makes a dozen tensors.
Tensor empty(const Tensor& like, std::initializer_list<int64_t> shape) {
  int64_t strides[4], stride = 1;
  for (int64_t d = (int64_t)shape.size() - 1; d >= 0; d--) {
    strides[d] = stride;
    stride *= std::max<int64_t>(1, shape.begin()[d]);
  }
  int32_t dtype, device, index;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(like.get(), &dtype));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(like.get(), &index));
  AtenTensorHandle made;
  STABLE_TORCH_ERROR_CODE_CHECK(
      aoti_torch_empty_strided((int64_t)shape.size(), shape.begin(), strides, dtype, device, index, &made));
  return Tensor(made);
}

// Scratch memory that a thread keeps from call to call: fresh pages would cost more than a small model's arithmetic.
template <class V> V* scratch(size_t count) {
  thread_local std::vector<V> memory;
  if (memory.size() < count) memory.resize(count);
  return memory.data();
}

void run_parallel(int64_t count, rnn::Body body, void* context) {
  if (count == 1) return body(0, context);
  torch::stable::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; part++) body(part, context);
  });
}

struct Arguments {
  Tensor x, W, U;
  MaybeTensor h0, c0, bias[4], scalars[2], lengths;
  rnn::Problem problem;

  Arguments(const Tensor& x_, const MaybeTensor& h0_, const MaybeTensor& c0_, const Tensor& W_, const Tensor& U_,
            const MaybeTensor (&bias_)[4], const MaybeTensor& first, const MaybeTensor& second,
            const MaybeTensor& lengths_, int64_t cell, int64_t gate, int64_t update, bool reverse)
      : x(dense_rows(x_)), W(dense(W_)), U(dense(U_)), h0(dense(h0_)), c0(dense(c0_)),
        scalars{dense(first), dense(second)}, lengths(dense(lengths_)) {
    STD_TORCH_CHECK(0 <= cell && cell < 6 && 0 <= gate && gate < 6 && 0 <= update && update < 6, "unknown cell or nonlinearity");
    STD_TORCH_CHECK(x.dim() == 3 && U.dim() == 2, "x must be (T, B, D) and U (H, blocks * H)");
    const int64_t T = x.size(0), B = x.size(1), D = x.size(2), H = U.size(0);
    STD_TORCH_CHECK(T >= 1 && B >= 1 && D >= 1 && H >= 1, "T, B, D and H must be at least 1");
    check(W, {D, kBlocks[cell] * H}, "W");
    check(U, {H, kBlocks[cell] * H}, "U");
    for (int k = 0; k < 4; k++) {
      bias[k] = dense(bias_[k]);
      STD_TORCH_CHECK(bias[k].has_value() == (k < kBiases[cell]), "the cell has another number of biases");
      if (bias[k]) check(*bias[k], {H}, "bias");
    }
    for (const MaybeTensor& s : scalars) {
      STD_TORCH_CHECK(s.has_value() == (cell < 2), "first and second belong to FastRNN and FastGRNN");
      STD_TORCH_CHECK(!s || (s->numel() == 1 && s->scalar_type() == x.scalar_type()), "first and second hold one value");
    }
    if (h0) check(*h0, {B, H}, "h0");
    if (c0) check(*c0, {B, H}, "c0");
    if (lengths) {
      STD_TORCH_CHECK(lengths->dim() == 1 && lengths->size(0) == B && lengths->scalar_type() == ScalarType::Long,
                      "lengths must be int64 of shape (B,)");
    }
    STD_TORCH_CHECK(x.scalar_type() == ScalarType::Float || x.scalar_type() == ScalarType::Double,
                    "the CPU kernel takes float32 and float64");
    problem = {rnn::Cell(cell), rnn::Nonlinearity(gate), rnn::Nonlinearity(update), T, B, D, H, reverse,
               data<int64_t>(lengths), x.stride(0), x.stride(1)};
  }

  bool lstm() const { return problem.cell == rnn::Cell::LSTM; }
  int biases() const { return kBiases[(int)problem.cell]; }
  int blocks() const { return kBlocks[(int)problem.cell]; }
  int saved() const { return kSaved[(int)problem.cell]; }

  // Biases side by side in `biases`, scalars through their sigmoid.
  template <class V> rnn::Weights<V> weights(std::vector<V>& biases) const {
    biases.clear();
    for (const MaybeTensor& b : bias)
      if (b) biases.insert(biases.end(), data<V>(*b), data<V>(*b) + problem.H);
    auto value = [](const MaybeTensor& s) { return s ? V(1) / (V(1) + std::exp(-data<V>(*s)[0])) : V(0); };
    return {data<V>(W), data<V>(U), biases.data(), value(scalars[0]), value(scalars[1])};
  }

 private:
  void check(const Tensor& t, std::initializer_list<int64_t> shape, const char* name) const {
    STD_TORCH_CHECK(t.scalar_type() == x.scalar_type(), name, " has another dtype than x");
    STD_TORCH_CHECK(t.dim() == (int64_t)shape.size(), name, " has the wrong number of dimensions");
    int64_t d = 0;
    for (int64_t extent : shape) STD_TORCH_CHECK(t.size(d++) == extent, name, " has the wrong shape");
  }
};

template <class F> auto by_dtype(const Tensor& x, F&& f) {
  return x.scalar_type() == ScalarType::Float ? f(float{}) : f(double{});
}

using ForwardResult = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

// Returns output (T, B, H), h_last, c_last (B, H; empty but for the LSTM), and what backward needs (empty if !save).
ForwardResult rnn_forward(Tensor x, MaybeTensor h0, MaybeTensor c0, Tensor W, Tensor U, Tensor b0, MaybeTensor b1,
                          MaybeTensor b2, MaybeTensor b3, MaybeTensor first, MaybeTensor second, MaybeTensor lengths,
                          int64_t cell, int64_t gate, int64_t update, bool reverse, bool save) {
  const Arguments a(x, h0, c0, W, U, {b0, b1, b2, b3}, first, second, lengths, cell, gate, update, reverse);
  const int64_t T = a.problem.T, B = a.problem.B, H = a.problem.H;
  Tensor out = empty(x, {T, B, H}), h_last = empty(x, {B, H}), c_last = empty(x, {a.lstm() ? B : 0, H});
  Tensor pre = empty(x, {save ? T : 0, B, a.saved() * rnn::padded(H)});
  Tensor cells = empty(x, {save && a.lstm() ? T : 0, B, H});
  const int threads = (int)torch::stable::get_num_threads();
  by_dtype(x, [&](auto type) {
    using V = decltype(type);
    std::vector<V> biases;
    V* workspace = scratch<V>(rnn::workspace_size<V>(a.problem, threads));
    const rnn::Sequence<V> s{data<V>(a.x), data<V>(a.h0), data<V>(a.c0), data<V>(out), data<V>(h_last), data<V>(c_last),
                             save ? data<V>(pre) : nullptr, save && a.lstm() ? data<V>(cells) : nullptr};
    rnn::forward<V>(a.problem, a.weights<V>(biases), s, threads, run_parallel, workspace);
  });
  return {out, h_last, c_last, pre, cells};
}

using BackwardResult =
    std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// Returns gradients of x (empty unless need_x), h0, c0 (empty but for the LSTM), W, U, b0..b3 (empty where the cell has
// no such bias), first, second (empty but for FastRNN and FastGRNN).
BackwardResult rnn_backward(MaybeTensor d_out, MaybeTensor d_h, MaybeTensor d_c, Tensor x, MaybeTensor h0, MaybeTensor c0,
                            Tensor W, Tensor U, Tensor b0, MaybeTensor b1, MaybeTensor b2, MaybeTensor b3,
                            MaybeTensor first, MaybeTensor second, MaybeTensor lengths, Tensor out, Tensor pre,
                            Tensor cells, int64_t cell, int64_t gate, int64_t update, bool reverse, bool need_x) {
  const Arguments a(x, h0, c0, W, U, {b0, b1, b2, b3}, first, second, lengths, cell, gate, update, reverse);
  const int64_t T = a.problem.T, B = a.problem.B, D = a.problem.D, H = a.problem.H;
  if (d_out) d_out = dense_rows(*d_out);
  d_h = dense(d_h);
  d_c = dense(d_c);
  Tensor dx = empty(x, {need_x ? T : 0, B, D}), dh0 = empty(x, {B, H}), dc0 = empty(x, {a.lstm() ? B : 0, H});
  Tensor dW = empty(x, {D, a.blocks() * H}), dU = empty(x, {H, a.blocks() * H});
  std::array<Tensor, 4> dbias;
  for (int k = 0; k < 4; k++) dbias[k] = empty(x, {k < a.biases() ? H : 0});
  std::array<Tensor, 2> dscalars;
  for (int k = 0; k < 2; k++)
    dscalars[k] = !a.scalars[k] ? empty(x, {0}) : a.scalars[k]->dim() == 2 ? empty(x, {1, 1}) : torch::stable::empty_like(*a.scalars[k]);
  const int threads = (int)torch::stable::get_num_threads();
  by_dtype(x, [&](auto type) {
    using V = decltype(type);
    std::vector<V> biases, bias_gradients(a.biases() * H);
    V* workspace = scratch<V>(rnn::workspace_size<V>(a.problem, threads));
    const rnn::Sequence<V> s{data<V>(a.x), data<V>(a.h0), data<V>(a.c0), data<V>(out), nullptr, nullptr, data<V>(pre),
                             a.lstm() ? data<V>(cells) : nullptr};
    const rnn::SequenceGradients<V> g{data<V>(d_out), data<V>(d_h), data<V>(d_c), d_out ? d_out->stride(0) : 0,
                                      d_out ? d_out->stride(1) : 0, need_x ? data<V>(dx) : nullptr, data<V>(dh0),
                                      data<V>(dc0)};
    const rnn::Weights<V> w = a.weights<V>(biases);
    rnn::WeightGradients<V> totals{data<V>(dW), data<V>(dU), bias_gradients.data(), 0, 0};
    rnn::backward<V>(a.problem, w, s, g, totals, threads, run_parallel, workspace);
    for (int k = 0; k < a.biases(); k++) std::copy_n(bias_gradients.data() + k * H, H, data<V>(dbias[k]));
    if (a.scalars[0]) {
      data<V>(dscalars[0])[0] = (V)(totals.first * w.first * (1 - (double)w.first));
      data<V>(dscalars[1])[0] = (V)(totals.second * w.second * (1 - (double)w.second));
    }
  });
  return {dx, dh0, dc0, dW, dU, dbias[0], dbias[1], dbias[2], dbias[3], dscalars[0], dscalars[1]};
}

}  // namespace

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
  m.impl("rnn_forward", TORCH_BOX(&rnn_forward));
  m.impl("rnn_backward", TORCH_BOX(&rnn_backward));
}
