// The equations of the five cells, forward and backward, for one hidden unit of one row.
//
// V is the arithmetic type: float or double (CUDA, plain CPU) or a vector of them (CPU). The surrounding kernel
// supplies the pre-activations (products with W and U, biases not yet added), takes the new state, and in the backward
// pass recomputes the gates from the same pre-activations: nothing else is saved.
//
// Pre-activation blocks, in the order of the columns of W and U:
//   FastRNN, FastGRNN: p            UGRNN: z, c            GRU, reset before: r, z, c
//   GRU, reset after: r, z, (x part of c), (h part of c)   LSTM: i, f, k, o
#pragma once

#include <cmath>

#if defined(__CUDACC__)
#define RNN_INLINE __host__ __device__ __forceinline__
#else
#define RNN_INLINE inline __attribute__((always_inline))
#endif

namespace rnn {

enum class Cell : int { FastRNN, FastGRNN, UGRNN, GRUBefore, GRUAfter, LSTM };
enum class Nonlinearity : int { Sigmoid, Tanh, Relu, QuantSigm, QuantSigm4, QuantTanh };

// Blocks of H columns in W and U, blocks of saved pre-activations, bias vectors.
template <Cell C> constexpr int blocks = C == Cell::LSTM ? 4 : C >= Cell::GRUBefore ? 3 : C == Cell::UGRNN ? 2 : 1;
template <Cell C> constexpr int saved = C == Cell::GRUAfter ? 4 : blocks<C>;
template <Cell C> constexpr int biases = C == Cell::FastGRNN ? 2 : saved<C>;

// Scalars of FastRNN (s(alpha), s(beta)) and FastGRNN (s(zeta), s(nu)); unused by the others.
template <class V> struct Scalars { V first, second; };

template <class V> struct Step { V h, c; };

// What one backward step yields: gradients of the saved pre-activations, of the biases, of the previous state
// (elementwise paths only: the products with U are the kernel's), and of the scalars.
template <Cell C, class V> struct Gradients {
  V pre[saved<C>];
  V bias[biases<C>];
  V h, c;
  V first, second;
};

// M, the functions of an arithmetic type: constant(x), sigmoid(v), tanh(v), clamp(v, low, high) that lets NaN through.
template <class M, class V> RNN_INLINE V nonlinear(Nonlinearity kind, V x) {
  const V zero = M::constant(0), one = M::constant(1);
  switch (kind) {
    case Nonlinearity::Sigmoid: return M::sigmoid(x);
    case Nonlinearity::Tanh: return M::tanh(x);
    case Nonlinearity::Relu: return M::clamp(x, zero, M::constant(HUGE_VAL));
    case Nonlinearity::QuantSigm: return M::clamp((x + one) * M::constant(0.5), zero, one);
    case Nonlinearity::QuantSigm4: return M::clamp((x + M::constant(2)) * M::constant(0.25), zero, one);
    default: return M::clamp(x, -one, one);
  }
}

// The derivative, from the output y.
template <class M, class V> RNN_INLINE V derivative(Nonlinearity kind, V y) {
  const V zero = M::constant(0), one = M::constant(1);
  switch (kind) {
    case Nonlinearity::Sigmoid: return y * (one - y);
    case Nonlinearity::Tanh: return one - y * y;
    case Nonlinearity::Relu: return y > zero ? one : zero;
    case Nonlinearity::QuantSigm: return (y > zero) & (y < one) ? M::constant(0.5) : zero;
    case Nonlinearity::QuantSigm4: return (y > zero) & (y < one) ? M::constant(0.25) : zero;
    default: return (y > -one) & (y < one) ? one : zero;
  }
}

// Any pair, chosen at run time: the branch is the same for a whole call.
template <class M, class V> struct Chosen {
  Nonlinearity gate_kind, update_kind;
  template <class> static RNN_INLINE V constant(double x) { return M::constant(x); }
  RNN_INLINE V gate(V x) const { return nonlinear<M>(gate_kind, x); }
  RNN_INLINE V update(V x) const { return nonlinear<M>(update_kind, x); }
  RNN_INLINE V d_gate(V y) const { return derivative<M>(gate_kind, y); }
  RNN_INLINE V d_update(V y) const { return derivative<M>(update_kind, y); }
  RNN_INLINE void gate_and_update(V p, V bg, V bh, V& z, V& k) const {
    z = gate(p + bg);
    k = update(p + bh);
  }
};

// Act: gate(v), update(v), their derivatives from the output d_gate(y), d_update(y), and gate_and_update(p, bg, bh, z, k)
// for FastGRNN, whose biases it may want prepared.
template <Cell C, class Act, class V>
RNN_INLINE Step<V> forward(const Act& act, const V* p, const V* b, Scalars<V> s, V h, V c) {
  const V one = Act::template constant<V>(1);
  if constexpr (C == Cell::FastRNN) {
    return {s.second * h + s.first * act.update(p[0] + b[0]), c};
  } else if constexpr (C == Cell::FastGRNN) {
    V z, k;
    act.gate_and_update(p[0], b[0], b[1], z, k);
    return {z * h + (s.first * (one - z) + s.second) * k, c};
  } else if constexpr (C == Cell::UGRNN) {
    const V z = act.gate(p[0] + b[0]), k = act.update(p[1] + b[1]);
    return {z * h + (one - z) * k, c};
  } else if constexpr (C == Cell::GRUBefore) {
    const V z = act.gate(p[1] + b[1]), k = act.update(p[2] + b[2]);
    return {z * h + (one - z) * k, c};
  } else if constexpr (C == Cell::GRUAfter) {
    const V r = act.gate(p[0] + b[0]), z = act.gate(p[1] + b[1]);
    const V k = act.update(p[2] + b[2] + r * (p[3] + b[3]));
    return {z * h + (one - z) * k, c};
  } else {
    const V i = act.gate(p[0] + b[0]), f = act.gate(p[1] + b[1]), k = act.update(p[2] + b[2]), o = act.gate(p[3] + b[3]);
    const V cell = f * c + i * k;
    return {o * act.update(cell), cell};
  }
}

// h and c: the state before the step; dh and dc: gradients of the state after it. For GRUBefore this covers z and k;
// the reset gate's part follows once the kernel has multiplied pre[2] by the transposed U3 (see backward_reset).
template <Cell C, class Act, class V>
RNN_INLINE Gradients<C, V> backward(const Act& act, const V* p, const V* b, Scalars<V> s, V h, V c, V dh, V dc) {
  const V one = Act::template constant<V>(1);
  Gradients<C, V> g;
  g.c = dc;
  g.first = g.second = one - one;
  if constexpr (C == Cell::FastRNN) {
    const V k = act.update(p[0] + b[0]);
    g.pre[0] = g.bias[0] = dh * s.first * act.d_update(k);
    g.h = dh * s.second;
    g.first = dh * k;
    g.second = dh * h;
  } else if constexpr (C == Cell::FastGRNN) {
    V z, k;
    act.gate_and_update(p[0], b[0], b[1], z, k);
    const V dk = dh * k;
    g.bias[0] = (dh * h - s.first * dk) * act.d_gate(z);
    g.bias[1] = dh * (s.first * (one - z) + s.second) * act.d_update(k);
    g.pre[0] = g.bias[0] + g.bias[1];
    g.h = dh * z;
    g.first = dk * (one - z);
    g.second = dk;
  } else if constexpr (C == Cell::UGRNN) {
    const V z = act.gate(p[0] + b[0]), k = act.update(p[1] + b[1]);
    g.pre[0] = g.bias[0] = dh * (h - k) * act.d_gate(z);
    g.pre[1] = g.bias[1] = dh * (one - z) * act.d_update(k);
    g.h = dh * z;
  } else if constexpr (C == Cell::GRUBefore) {
    const V z = act.gate(p[1] + b[1]), k = act.update(p[2] + b[2]);
    g.pre[0] = g.bias[0] = one - one;
    g.pre[1] = g.bias[1] = dh * (h - k) * act.d_gate(z);
    g.pre[2] = g.bias[2] = dh * (one - z) * act.d_update(k);
    g.h = dh * z;
  } else if constexpr (C == Cell::GRUAfter) {
    const V r = act.gate(p[0] + b[0]), z = act.gate(p[1] + b[1]), q = p[3] + b[3];
    const V k = act.update(p[2] + b[2] + r * q);
    g.pre[2] = g.bias[2] = dh * (one - z) * act.d_update(k);
    g.pre[0] = g.bias[0] = g.pre[2] * q * act.d_gate(r);
    g.pre[1] = g.bias[1] = dh * (h - k) * act.d_gate(z);
    g.pre[3] = g.bias[3] = g.pre[2] * r;
    g.h = dh * z;
  } else {
    const V i = act.gate(p[0] + b[0]), f = act.gate(p[1] + b[1]), k = act.update(p[2] + b[2]), o = act.gate(p[3] + b[3]);
    const V u = act.update(f * c + i * k);
    const V d = dc + dh * o * act.d_update(u);
    g.pre[0] = g.bias[0] = d * k * act.d_gate(i);
    g.pre[1] = g.bias[1] = d * c * act.d_gate(f);
    g.pre[2] = g.bias[2] = d * i * act.d_update(k);
    g.pre[3] = g.bias[3] = dh * u * act.d_gate(o);
    g.h = one - one;
    g.c = d * f;
  }
  return g;
}

// GRU that resets before the product: r from its pre-activation, and its gradient from that of r * h.
template <class Act, class V> RNN_INLINE V reset(const Act& act, V p, V b) { return act.gate(p + b); }

template <class Act, class V> RNN_INLINE V backward_reset(const Act& act, V p, V b, V h, V d_reset_h, V& dh) {
  const V r = act.gate(p + b);
  dh = dh + d_reset_h * r;
  return d_reset_h * h * act.d_gate(r);
}

}  // namespace rnn
