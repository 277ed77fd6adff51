// The op's tensors, checked, over torch's stable ABI; what the CPU and the CUDA implementation share.
//
// Shapes: x (T, B, D) with contiguous features; W (D, blocks * H); U (H, blocks * H); b0..b3 (H,), as many as the cell
// has; first, second: FastRNN's alpha and beta or FastGRNN's zeta and nu, one value each, before the sigmoid; h0, c0
// (B, H); lengths (B,) int64. All floating tensors share one dtype and device.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <optional>
#include <tuple>

#include "problem.h"

namespace rnn {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using MaybeTensor = std::optional<Tensor>;

constexpr int kBlocks[] = {1, 1, 2, 3, 3, 4}, kSaved[] = {1, 1, 2, 3, 4, 4}, kBiases[] = {1, 2, 2, 3, 4, 4};

template <class T> T* data(const Tensor& t) { return static_cast<T*>(t.data_ptr()); }
template <class T> T* data(const MaybeTensor& t) { return t ? data<T>(*t) : nullptr; }

inline Tensor dense(const Tensor& t) { return t.is_contiguous() ? t : torch::stable::contiguous(t); }
inline MaybeTensor dense(const MaybeTensor& t) { return t ? MaybeTensor(dense(*t)) : t; }
inline Tensor dense_rows(const Tensor& t) { return t.size(2) <= 1 || t.stride(2) == 1 ? t : torch::stable::contiguous(t); }

// Contiguous, on the device and of the dtype of `like`. torch::stable::new_empty, through the dispatcher, takes four
// times as long, and an op on a small model makes a dozen tensors.
inline Tensor empty(const Tensor& like, std::initializer_list<int64_t> shape) {
  int64_t strides[4], stride = 1;
  for (int64_t d = (int64_t)shape.size() - 1; d >= 0; d--) {
    strides[d] = stride;
    stride *= std::max<int64_t>(1, shape.begin()[d]);
  }
  int32_t dtype, device, index;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(like.get(), &dtype));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(like.get(), &index));
  AtenTensorHandle made;
  TORCH_ERROR_CODE_CHECK(
      aoti_torch_empty_strided((int64_t)shape.size(), shape.begin(), strides, dtype, device, index, &made));
  return Tensor(made);
}

struct Arguments {
  Tensor x, W, U;
  MaybeTensor h0, c0, bias[4], scalars[2], lengths;
  Problem problem;

  Arguments(const Tensor& x_, const MaybeTensor& h0_, const MaybeTensor& c0_, const Tensor& W_, const Tensor& U_,
            const MaybeTensor (&bias_)[4], const MaybeTensor& first, const MaybeTensor& second,
            const MaybeTensor& lengths_, int64_t cell, int64_t gate, int64_t update, bool reverse)
      : x(dense_rows(x_)), W(dense(W_)), U(dense(U_)), h0(dense(h0_)), c0(dense(c0_)),
        scalars{dense(first), dense(second)}, lengths(dense(lengths_)) {
    STD_TORCH_CHECK(0 <= cell && cell < 6 && 0 <= gate && gate < 6 && 0 <= update && update < 6,
                    "unknown cell or nonlinearity");
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
      if (s) check_device(*s, "first or second");
    }
    if (h0) check(*h0, {B, H}, "h0");
    if (c0) check(*c0, {B, H}, "c0");
    if (lengths) {
      check_device(*lengths, "lengths");
      STD_TORCH_CHECK(lengths->dim() == 1 && lengths->size(0) == B && lengths->scalar_type() == ScalarType::Long,
                      "lengths must be int64 of shape (B,)");
    }
    STD_TORCH_CHECK(x.scalar_type() == ScalarType::Float || x.scalar_type() == ScalarType::Double,
                    "the fused op takes float32 and float64");
    problem = {Cell(cell), Nonlinearity(gate), Nonlinearity(update), T, B, D, H, reverse,
               data<int64_t>(lengths), x.stride(0), x.stride(1)};
  }

  bool lstm() const { return problem.cell == Cell::LSTM; }
  int biases() const { return kBiases[(int)problem.cell]; }
  int blocks() const { return kBlocks[(int)problem.cell]; }
  int saved() const { return kSaved[(int)problem.cell]; }

 private:
  void check_device(const Tensor& t, const char* name) const {
    STD_TORCH_CHECK(t.is_cpu() == x.is_cpu() && t.get_device_index() == x.get_device_index(), name,
                    " is on another device than x");
  }

  void check(const Tensor& t, std::initializer_list<int64_t> shape, const char* name) const {
    check_device(t, name);
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
using BackwardResult =
    std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// What forward returns: out (T, B, H), h_last, c_last (B, H; empty but for the LSTM), and what backward needs (empty
// unless `save`): pre-activations, each block padded to a multiple of 16, and the LSTM's c.
struct ForwardTensors {
  Tensor out, h_last, c_last, pre, cells;

  ForwardTensors(const Arguments& a, bool save)
      : out(empty(a.x, {a.problem.T, a.problem.B, a.problem.H})), h_last(empty(a.x, {a.problem.B, a.problem.H})),
        c_last(empty(a.x, {a.lstm() ? a.problem.B : 0, a.problem.H})),
        pre(empty(a.x, {save ? a.problem.T : 0, a.problem.B, a.saved() * padded(a.problem.H)})),
        cells(empty(a.x, {save && a.lstm() ? a.problem.T : 0, a.problem.B, a.problem.H})) {}

  ForwardResult result() const { return {out, h_last, c_last, pre, cells}; }
};

// What backward returns: gradients of x (empty unless need_x), h0, c0 (empty but for the LSTM), W, U, b0..b3 (empty where
// the cell has no such bias), first, second (empty but for FastRNN and FastGRNN).
struct BackwardTensors {
  Tensor x, h0, c0, W, U, bias[4], scalars[2];

  BackwardTensors(const Arguments& a, bool need_x)
      : x(empty(a.x, {need_x ? a.problem.T : 0, a.problem.B, a.problem.D})), h0(empty(a.x, {a.problem.B, a.problem.H})),
        c0(empty(a.x, {a.lstm() ? a.problem.B : 0, a.problem.H})),
        W(empty(a.x, {a.problem.D, a.blocks() * a.problem.H})), U(empty(a.x, {a.problem.H, a.blocks() * a.problem.H})),
        bias{of_bias(a, 0), of_bias(a, 1), of_bias(a, 2), of_bias(a, 3)},
        scalars{of_scalar(a, a.scalars[0]), of_scalar(a, a.scalars[1])} {}

  BackwardResult result() const {
    return {x, h0, c0, W, U, bias[0], bias[1], bias[2], bias[3], scalars[0], scalars[1]};
  }

 private:
  static Tensor of_bias(const Arguments& a, int k) { return empty(a.x, {k < a.biases() ? a.problem.H : 0}); }
  static Tensor of_scalar(const Arguments& a, const MaybeTensor& s) {
    return !s ? empty(a.x, {0}) : s->dim() == 2 ? empty(a.x, {1, 1}) : torch::stable::empty_like(*s);
  }
};

}  // namespace rnn
