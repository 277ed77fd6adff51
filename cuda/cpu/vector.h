// Vectors of float and double for the instruction set this file is compiled for, and the functions the cells need.
// RNN_VECTOR_BYTES is set by the including file: 64 (AVX-512), 32 (AVX2) or 16 (anything else).
//
// exp: n = round(x log2 e), a polynomial on [-ln2/2, ln2/2] (Cephes' expf coefficients), scaled by 2^n. Relative error
// below 2e-7 on [-87, 88], saturated outside. Doubles use the C library, lane by lane.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#if RNN_VECTOR_BYTES > 16
#include <immintrin.h>
#endif

#include "../cell_math.h"

namespace rnn::RNN_ISA {

template <class T> struct Lanes;
template <> struct Lanes<float> {
  typedef float Vector __attribute__((vector_size(RNN_VECTOR_BYTES)));
  typedef float Unaligned __attribute__((vector_size(RNN_VECTOR_BYTES), aligned(4), may_alias));
  typedef int32_t Bits __attribute__((vector_size(RNN_VECTOR_BYTES)));
};
template <> struct Lanes<double> {
  typedef double Vector __attribute__((vector_size(RNN_VECTOR_BYTES)));
  typedef double Unaligned __attribute__((vector_size(RNN_VECTOR_BYTES), aligned(8), may_alias));
  typedef int64_t Bits __attribute__((vector_size(RNN_VECTOR_BYTES)));
};
template <class T> using Vec = typename Lanes<T>::Vector;
template <class T> constexpr int lanes = RNN_VECTOR_BYTES / sizeof(T);

template <class T> RNN_INLINE Vec<T> load(const T* p) { return (Vec<T>)*(const typename Lanes<T>::Unaligned*)p; }
template <class T> RNN_INLINE void store(T* p, Vec<T> v) { *(typename Lanes<T>::Unaligned*)p = (typename Lanes<T>::Unaligned)v; }
template <class T> RNN_INLINE Vec<T> broadcast(T x) {
  const Vec<T> zero = {};
  return x - zero;  // not x + zero, which would turn -0.0 into +0.0
}

// The first n lanes (n < lanes), zeros in the others.
template <class T> RNN_INLINE Vec<T> load_part(const T* p, int n) {
#if RNN_VECTOR_BYTES == 64
  if constexpr (std::is_same_v<T, float>) return (Vec<T>)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
  else return (Vec<T>)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
#else
  Vec<T> v = {};
  for (int i = 0; i < n; i++) v[i] = p[i];
  return v;
#endif
}
template <class T> RNN_INLINE void store_part(T* p, Vec<T> v, int n) {
#if RNN_VECTOR_BYTES == 64
  if constexpr (std::is_same_v<T, float>) _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
  else _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)v);
#else
  for (int i = 0; i < n; i++) p[i] = v[i];
#endif
}

// The part of a row of which `left` values remain: a whole vector, some lanes, or none.
template <class T> RNN_INLINE Vec<T> load_row(const T* p, int left) {
  return left >= lanes<T> ? load(p) : left > 0 ? load_part(p, left) : Vec<T>{};
}
template <class T> RNN_INLINE void store_row(T* p, Vec<T> v, int left) {
  if (left >= lanes<T>) store(p, v);
  else if (left > 0) store_part(p, v, left);
}

template <class V> RNN_INLINE V min_of(V a, V b) { return a < b ? a : b; }
template <class V> RNN_INLINE V max_of(V a, V b) { return a > b ? a : b; }
template <class T> RNN_INLINE Vec<T> clamp(Vec<T> x, T low, T high) {
  // x in the first place: a comparison with NaN is false and must keep the NaN
  const Vec<T> l = broadcast(low), h = broadcast(high);
  const Vec<T> above = x < l ? l : x;
  return above > h ? h : above;
}

RNN_INLINE Vec<float> exp_of(Vec<float> x) {
  typedef Lanes<float>::Bits Bits;
  x = clamp<float>(x, -87.0f, 88.0f);
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to the nearest integer
  const Vec<float> shifted = x * 1.44269504088896341f + magic;
  const Vec<float> n = shifted - magic;
  Vec<float> r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Vec<float> p = broadcast(1.9875691500E-4f);
  p = p * r + 1.3981999507E-3f;
  p = p * r + 8.3334519073E-3f;
  p = p * r + 4.1665795894E-2f;
  p = p * r + 1.6666665459E-1f;
  p = p * r + 5.0000001201E-1f;
  p = p * r * r + r + 1.0f;
  return (Vec<float>)((Bits)p + ((Bits)shifted << 23));
}
RNN_INLINE Vec<double> exp_of(Vec<double> x) {
  Vec<double> y = x;
  for (int i = 0; i < lanes<double>; i++) y[i] = std::exp(x[i]);
  return y;
}

template <class T> RNN_INLINE Vec<T> sigmoid_of(Vec<T> x) { return T(1) / (T(1) + exp_of(-x)); }

// 1 - 2 / (1 + exp(2x)): absolute error below 2e-7, which is what a state in [-1, 1] can notice.
RNN_INLINE Vec<float> tanh_of(Vec<float> x) { return 1.0f - 2.0f / (1.0f + exp_of(2.0f * x)); }
RNN_INLINE Vec<double> tanh_of(Vec<double> x) {
  Vec<double> y = x;
  for (int i = 0; i < lanes<double>; i++) y[i] = std::tanh(x[i]);
  return y;
}

template <class T> RNN_INLINE Vec<T> apply(Nonlinearity kind, Vec<T> x) {
  switch (kind) {
    case Nonlinearity::Sigmoid: return sigmoid_of<T>(x);
    case Nonlinearity::Tanh: return tanh_of(x);
    case Nonlinearity::Relu: return max_of(broadcast(T(0)), x);
    case Nonlinearity::QuantSigm: return clamp<T>((x + T(1)) * T(0.5), 0, 1);
    case Nonlinearity::QuantSigm4: return clamp<T>((x + T(2)) * T(0.25), 0, 1);
    default: return clamp<T>(x, -1, 1);
  }
}
template <class T> RNN_INLINE Vec<T> derivative(Nonlinearity kind, Vec<T> y) {
  const Vec<T> zero = {}, one = broadcast(T(1));
  switch (kind) {
    case Nonlinearity::Sigmoid: return y * (one - y);
    case Nonlinearity::Tanh: return one - y * y;
    case Nonlinearity::Relu: return y > zero ? one : zero;
    case Nonlinearity::QuantSigm: return (y > zero) & (y < one) ? broadcast(T(0.5)) : zero;
    case Nonlinearity::QuantSigm4: return (y > zero) & (y < one) ? broadcast(T(0.25)) : zero;
    default: return (y > -one) & (y < one) ? one : zero;
  }
}

// Sigmoid gates and tanh updates, known at compile time. `prepare` lets FastGRNN's two nonlinearities of one
// pre-activation share an exponential: its biases arrive as exp(-bg) and exp(-2 bh).
template <class T> struct Standard {
  static constexpr bool shares_exponential = std::is_same_v<T, float>;
  template <class V> static RNN_INLINE V constant(double x) { return broadcast(T(x)); }
  static RNN_INLINE Vec<T> gate(Vec<T> x) { return sigmoid_of<T>(x); }
  static RNN_INLINE Vec<T> update(Vec<T> x) { return tanh_of(x); }
  static RNN_INLINE Vec<T> d_gate(Vec<T> y) { return derivative<T>(Nonlinearity::Sigmoid, y); }
  static RNN_INLINE Vec<T> d_update(Vec<T> y) { return derivative<T>(Nonlinearity::Tanh, y); }
  static T prepare(int bias, T b) { return shares_exponential ? std::exp(bias == 0 ? -b : -2 * b) : b; }
  static RNN_INLINE void gate_and_update(Vec<T> p, Vec<T> bg, Vec<T> bh, Vec<T>& z, Vec<T>& k) {
    if constexpr (shares_exponential) {
      // e = exp(-p): z = 1 / (1 + e bg), k = (1 - q) / (1 + q) with q = e^2 bh, over one common denominator
      const Vec<T> e = exp_of(-clamp<T>(p, -40, 40));
      const Vec<T> a = T(1) + min_of(broadcast(T(1e18)), e * bg), q = min_of(broadcast(T(1e9)), e * e * bh);
      const Vec<T> r = T(1) / (a * (T(1) + q));
      z = r * (T(1) + q);
      k = (T(1) - q) * (a * r);
    } else {
      z = gate(p + bg);
      k = update(p + bh);
    }
  }
};

// Any pair, chosen at run time; the branch is the same for a whole call and well predicted.
template <class T> struct Chosen {
  Nonlinearity gate_kind, update_kind;
  template <class V> static RNN_INLINE V constant(double x) { return broadcast(T(x)); }
  RNN_INLINE Vec<T> gate(Vec<T> x) const { return apply<T>(gate_kind, x); }
  RNN_INLINE Vec<T> update(Vec<T> x) const { return apply<T>(update_kind, x); }
  RNN_INLINE Vec<T> d_gate(Vec<T> y) const { return derivative<T>(gate_kind, y); }
  RNN_INLINE Vec<T> d_update(Vec<T> y) const { return derivative<T>(update_kind, y); }
  static T prepare(int, T b) { return b; }
  RNN_INLINE void gate_and_update(Vec<T> p, Vec<T> bg, Vec<T> bh, Vec<T>& z, Vec<T>& k) const {
    z = gate(p + bg);
    k = update(p + bh);
  }
};

}  // namespace rnn::RNN_ISA
