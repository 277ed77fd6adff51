// The op on CUDA tensors: large matrix products around the kernels of kernel.h. The caller has set the device.
#pragma once

#include "../arguments.h"
#include "kernel.h"

namespace rnn::gpu {

inline void check(cudaError_t error) {
  STD_TORCH_CHECK(error == cudaSuccess, "the fused op on CUDA: ", cudaGetErrorString(error));
}

inline Tensor rows_of(const Tensor& t) { return torch::stable::reshape(t, {t.size(0) * t.size(1), t.size(2)}); }

inline Tensor columns_of(const Tensor& t, int64_t from, int64_t count) {
  Tensor source = t;
  return torch::stable::narrow(source, 1, from, count);
}

// to = a^T b, where `to` may be some columns of a larger matrix.
inline void transposed_product(const Tensor& a, const Tensor& b, Tensor to) {
  torch::stable::copy_(to, torch::stable::matmul(torch::stable::transpose(a, 0, 1), b));
}

template <class T> Parameters<T> parameters(const Arguments& a) {
  return {{data<T>(a.bias[0]), data<T>(a.bias[1]), data<T>(a.bias[2]), data<T>(a.bias[3])},
          data<T>(a.scalars[0]), data<T>(a.scalars[1])};
}

inline ForwardResult forward_op(const Arguments& a, bool save, cudaStream_t stream) {
  const Problem& p = a.problem;
  const ForwardTensors to(a, save);
  const Tensor xw = torch::stable::matmul(rows_of(a.x), a.W);
  by_dtype(a.x, [&](auto type) {
    using T = decltype(type);
    Plan how;
    check(plan<T>(p, false, &how));
    const Tensor scratch = empty(a.x, {(int64_t)how.scratch});
    const Forward<T> s{data<T>(xw), data<T>(a.U), data<T>(a.h0), data<T>(a.c0), data<T>(to.out), data<T>(to.h_last),
                       data<T>(to.c_last), save ? data<T>(to.pre) : nullptr, save ? data<T>(to.cells) : nullptr,
                       how.scratch ? data<T>(scratch) : nullptr};
    check(forward<T>(p, how, parameters<T>(a), s, stream));
  });
  return to.result();
}

struct Incoming { MaybeTensor out, h, c; };
struct Kept { Tensor out, pre, cells; };

inline BackwardResult backward_op(const Arguments& a, const Incoming& d, const Kept& kept, bool need_x, cudaStream_t stream) {
  const Problem& p = a.problem;
  const int64_t H = p.H, joint = (p.cell == Cell::GRUBefore || p.cell == Cell::GRUAfter ? 2 : a.blocks()) * H;
  const bool before = p.cell == Cell::GRUBefore;
  BackwardTensors to(a, need_x);
  const Tensor Ut = torch::stable::contiguous(torch::stable::transpose(a.U, 0, 1));
  const Tensor d_pre = empty(a.x, {p.T * p.B, a.saved() * H}), h = empty(a.x, {p.T * p.B, H});
  const Tensor reset_h = empty(a.x, {before ? p.T * p.B : 0, H});
  by_dtype(a.x, [&](auto type) {
    using T = decltype(type);
    Plan how;
    check(plan<T>(p, true, &how));
    const int64_t groups = how.blocks * how.groups;
    const Tensor scratch = empty(a.x, {(int64_t)how.scratch}), bias_sums = empty(a.x, {groups * a.biases() * H});
    const Tensor scalar_sums =
        torch::stable::new_empty(a.x, {a.scalars[0] ? groups * how.units * 2 : 0}, ScalarType::Double);
    const Backward<T> s{data<T>(Ut), data<T>(a.h0), data<T>(a.c0), data<T>(kept.out), data<T>(kept.pre),
                        data<T>(kept.cells), data<T>(d.out), data<T>(d.h), data<T>(d.c), d.out ? d.out->stride(0) : 0,
                        d.out ? d.out->stride(1) : 0, data<T>(d_pre), data<T>(h), data<T>(reset_h), data<T>(to.h0),
                        data<T>(to.c0), data<T>(bias_sums), data<double>(scalar_sums),
                        how.scratch ? data<T>(scratch) : nullptr};
    const Reduced<T> sums{{data<T>(to.bias[0]), data<T>(to.bias[1]), data<T>(to.bias[2]), data<T>(to.bias[3])},
                          data<T>(to.scalars[0]), data<T>(to.scalars[1])};
    check(backward<T>(p, how, parameters<T>(a), s, stream));
    check(reduce<T>(p, how, parameters<T>(a), s, sums, stream));
  });
  const Tensor d_wx = columns_of(d_pre, 0, a.blocks() * H);
  transposed_product(rows_of(a.x), d_wx, to.W);
  transposed_product(h, columns_of(d_pre, 0, joint), columns_of(to.U, 0, joint));
  if (joint < a.blocks() * H)  // the GRU's candidate, which multiplies r * h or has a block of its own
    transposed_product(before ? reset_h : h, columns_of(d_pre, before ? joint : joint + H, H), columns_of(to.U, joint, H));
  if (need_x) to.x = torch::stable::reshape(torch::stable::matmul(d_wx, torch::stable::transpose(a.W, 0, 1)), {p.T, p.B, p.D});
  return to.result();
}

}  // namespace rnn::gpu
