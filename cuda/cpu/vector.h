// Vectors of float and double for the instruction set this file is compiled for, and the functions the cells need.
// RNN_VECTOR_BYTES is set by the including file: 64 (AVX-512), 32 (AVX2) or 16 (anything else).
//
// 2^y: a polynomial of degree 6 on the fraction of y (minimax, relative error 2e-9 before rounding), scaled by 2^floor(y).
// Doubles use the C library, lane by lane.
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

// As the instructions have it: b where either is NaN. So a bound comes first, and a NaN gets through.
template <class T> RNN_INLINE Vec<T> min_of(Vec<T> a, Vec<T> b) {
#if RNN_VECTOR_BYTES == 64
  if constexpr (std::is_same_v<T, float>) return (Vec<T>)_mm512_min_ps((__m512)a, (__m512)b);
  else return (Vec<T>)_mm512_min_pd((__m512d)a, (__m512d)b);
#elif RNN_VECTOR_BYTES == 32
  if constexpr (std::is_same_v<T, float>) return (Vec<T>)_mm256_min_ps((__m256)a, (__m256)b);
  else return (Vec<T>)_mm256_min_pd((__m256d)a, (__m256d)b);
#else
  return a < b ? a : b;
#endif
}
template <class T> RNN_INLINE Vec<T> max_of(Vec<T> a, Vec<T> b) {
#if RNN_VECTOR_BYTES == 64
  if constexpr (std::is_same_v<T, float>) return (Vec<T>)_mm512_max_ps((__m512)a, (__m512)b);
  else return (Vec<T>)_mm512_max_pd((__m512d)a, (__m512d)b);
#elif RNN_VECTOR_BYTES == 32
  if constexpr (std::is_same_v<T, float>) return (Vec<T>)_mm256_max_ps((__m256)a, (__m256)b);
  else return (Vec<T>)_mm256_max_pd((__m256d)a, (__m256d)b);
#else
  return a > b ? a : b;
#endif
}
template <class T> RNN_INLINE Vec<T> clamp(Vec<T> x, T low, T high) {
  return min_of<T>(broadcast(high), max_of<T>(broadcast(low), x));
}

// 2^y for f = y - floor(y), in [0, 1).
RNN_INLINE Vec<float> exp2_of_fraction(Vec<float> f) {
  Vec<float> p = broadcast(2.1702255e-4f);
  p = p * f + 1.2439688e-3f;
  p = p * f + 9.678841e-3f;
  p = p * f + 5.5483342e-2f;
  p = p * f + 2.4022984e-1f;
  p = p * f + 6.9314698e-1f;
  return p * f + 1.0f;
}

// Tends to infinity and to (almost) zero outside the range of float.
RNN_INLINE Vec<float> exp2_of(Vec<float> y) {
#if RNN_VECTOR_BYTES == 64
  constexpr int fraction_above_floor = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
  const Vec<float> f = (Vec<float>)_mm512_reduce_ps((__m512)y, fraction_above_floor);
  return (Vec<float>)_mm512_scalef_ps((__m512)exp2_of_fraction(f), (__m512)y);
#else
  typedef Lanes<float>::Bits Bits;
  y = clamp<float>(y, -126.0f, 127.0f);
  const Bits exponent = __builtin_convertvector(y + 127.0f, Bits);  // truncation is floor here
  const Vec<float> f = y - (__builtin_convertvector(exponent, Vec<float>) - 127.0f);
  return exp2_of_fraction(f) * (Vec<float>)(exponent << 23);
#endif
}

constexpr double kLog2e = 1.4426950408889634;

// exp(-x)
RNN_INLINE Vec<float> exp_minus(Vec<float> x) { return exp2_of(x * (float)-kLog2e); }
RNN_INLINE Vec<double> exp_minus(Vec<double> x) {
  Vec<double> y = x;
  for (int i = 0; i < lanes<double>; i++) y[i] = std::exp(-x[i]);
  return y;
}

template <class T> RNN_INLINE Vec<T> sigmoid_of(Vec<T> x) { return T(1) / (T(1) + exp_minus(x)); }

// 2 / (1 + exp(-2x)) - 1: absolute error below 2e-7, which is what a state in [-1, 1] can notice.
RNN_INLINE Vec<float> tanh_of(Vec<float> x) { return 2.0f / (1.0f + exp2_of(x * (float)(-2 * kLog2e))) - 1.0f; }
RNN_INLINE Vec<double> tanh_of(Vec<double> x) {
  Vec<double> y = x;
  for (int i = 0; i < lanes<double>; i++) y[i] = std::tanh(x[i]);
  return y;
}

template <class T> struct Math {
  static RNN_INLINE Vec<T> constant(double x) { return broadcast(T(x)); }
  static RNN_INLINE Vec<T> sigmoid(Vec<T> x) { return sigmoid_of<T>(x); }
  static RNN_INLINE Vec<T> tanh(Vec<T> x) { return tanh_of(x); }
  static RNN_INLINE Vec<T> clamp(Vec<T> x, Vec<T> low, Vec<T> high) { return min_of<T>(high, max_of<T>(low, x)); }
};

// Sigmoid gates and tanh updates, known at compile time.
template <class T> struct Standard : Chosen<Math<T>, Vec<T>> {
  Standard() : Chosen<Math<T>, Vec<T>>{Nonlinearity::Sigmoid, Nonlinearity::Tanh} {}
  static RNN_INLINE Vec<T> gate(Vec<T> x) { return sigmoid_of<T>(x); }
  static RNN_INLINE Vec<T> update(Vec<T> x) { return tanh_of(x); }
  static RNN_INLINE Vec<T> d_gate(Vec<T> y) { return derivative<Math<T>>(Nonlinearity::Sigmoid, y); }
  static RNN_INLINE Vec<T> d_update(Vec<T> y) { return derivative<Math<T>>(Nonlinearity::Tanh, y); }
  static RNN_INLINE void gate_and_update(Vec<T> p, Vec<T> bg, Vec<T> bh, Vec<T>& z, Vec<T>& k) {
    z = gate(p + bg);
    k = update(p + bh);
  }
};

// FastGRNN's sigmoid and tanh of one pre-activation p share an exponential e = exp(-p): its biases arrive as exp(-bg) and
// exp(-2 bh). For biases within `largest_bias`: where e leaves the range of float, gate and update are saturated then.
struct SharedExponential : Standard<float> {
  static constexpr float largest_bias = 20;
  static float prepare(int bias, float b) { return std::exp(bias == 0 ? -b : -2 * b); }
  static RNN_INLINE void gate_and_update(Vec<float> p, Vec<float> bg, Vec<float> bh, Vec<float>& z, Vec<float>& k) {
    const Vec<float> e = exp_minus(p);
    z = 1.0f / (1.0f + e * bg);
    k = 2.0f / (1.0f + e * e * bh) - 1.0f;
  }
};

}  // namespace rnn::RNN_ISA
