// Small matrix products whose operands lie in the first- and second-level caches.
//
// C (M x N) (+)= A B. The right-hand side is either packed (`pack`: panels of a few vectors, rows of a panel one after
// the other, zero padded) or row-major. N is counted in vectors. Register tiles of MR rows by NV vectors.
#pragma once

#include <utility>

#include "vector.h"

namespace rnn::RNN_ISA {

template <int I> using Const = std::integral_constant<int, I>;

constexpr int kWidest = RNN_VECTOR_BYTES == 64 ? 5 : 3;  // vectors in a panel

constexpr int tile_rows(int vectors) {
  return RNN_VECTOR_BYTES == 64 ? (vectors == 1 ? 14 : vectors == 2 ? 12 : vectors == 3 ? 8 : vectors == 4 ? 6 : 5)
                                : (vectors == 1 ? 8 : vectors == 2 ? 6 : 4);
}

// How many of the vectors left go into the next panel: as wide as possible without leaving a single one behind.
inline int panel_width(int left) {
  if (left <= kWidest) return left;
  return left == kWidest + 1 ? (kWidest + 1) / 2 : kWidest;
}

// A tile of few registers takes several k at once: the processor needs eight or more sums to work on.
constexpr int interleaved(int registers) { return registers >= 8 ? 1 : registers >= 4 ? 2 : 4; }

// The left-hand side: M x K row-major, or K x M (then C += A^T B) for ColumnsOfA. Its K columns may lie in `pieces` runs,
// `apart` values from one to the next.
template <class T> struct Left {
  const T* at;
  int stride, M, K, pieces = 1, apart = 0;
};

template <class T, int MR, int NV, bool ColumnsOfA>
inline __attribute__((noinline)) void register_tile(const Left<T>& left, int m, const T* __restrict B, int ldb,
                                                    T* __restrict C, int ldc, bool accumulate) {
  constexpr int W = lanes<T>, KS = interleaved(MR * NV);
  const int lda = left.stride, K = left.K;
  const T* __restrict A = left.at + (ColumnsOfA ? m : m * lda);
  C += m * ldc;
  Vec<T> sum[KS][MR][NV];
#pragma GCC unroll 4
  for (int s = 0; s < KS; s++)
#pragma GCC unroll 16
    for (int m = 0; m < MR; m++)
#pragma GCC unroll 8
      for (int n = 0; n < NV; n++) sum[s][m][n] = Vec<T>{};
  auto add = [&](int k, auto& into) __attribute__((always_inline)) {
    Vec<T> b[NV];
#pragma GCC unroll 8
    for (int n = 0; n < NV; n++) b[n] = load(B + (size_t)k * ldb + n * W);
#pragma GCC unroll 16
    for (int m = 0; m < MR; m++) {
      const T a = ColumnsOfA ? A[(size_t)k * lda + m] : A[m * lda + k];
#pragma GCC unroll 8
      for (int n = 0; n < NV; n++) into[m][n] += b[n] * a;
    }
  };
  for (int piece = 0; piece < left.pieces; piece++) {
    int k = 0;
    for (; k + KS <= K; k += KS)
#pragma GCC unroll 4
      for (int s = 0; s < KS; s++) add(k + s, sum[s]);
    for (; k < K; k++) add(k, sum[0]);
    A += left.apart;
    B += (size_t)K * ldb;
  }
#pragma GCC unroll 16
  for (int m = 0; m < MR; m++)
#pragma GCC unroll 8
    for (int n = 0; n < NV; n++) {
#pragma GCC unroll 4
      for (int s = 1; s < KS; s++) sum[0][m][n] += sum[s][m][n];
      // what was there is added last: sums over thousands of rows lose fewer digits in two levels
      T* to = C + m * ldc + n * W;
      store(to, accumulate ? load(to) + sum[0][m][n] : sum[0][m][n]);
    }
}

template <class T, int NV, bool ColumnsOfA>
void panel_product(const Left<T>& left, const T* B, int ldb, T* C, int ldc, bool accumulate) {
  constexpr int MR = tile_rows(NV);
  int m = 0;
  auto rows = [&](auto count) {
    constexpr int R = decltype(count)::value;
    for (; left.M - m >= R; m += R) register_tile<T, R, NV, ColumnsOfA>(left, m, B, ldb, C, ldc, accumulate);
  };
  rows(Const<MR>{});
  if constexpr (MR > 4) rows(Const<4>{});
  rows(Const<2>{});
  rows(Const<1>{});
}

// ldb = 0: B is packed for these pieces * K rows.
template <class T, bool ColumnsOfA>
void product(const Left<T>& left, const T* B, int ldb, int vectors, T* C, int ldc, bool accumulate) {
  for (int n = 0; n < vectors;) {
    const int width = panel_width(vectors - n);
    const T* panel = ldb ? B + n * lanes<T> : B + (size_t)n * lanes<T> * left.K * left.pieces;
    const int stride = ldb ? ldb : width * lanes<T>;
    auto run = [&](auto count) {
      panel_product<T, decltype(count)::value, ColumnsOfA>(left, panel, stride, C + n * lanes<T>, ldc, accumulate);
    };
    switch (width) {
      case 1: run(Const<1>{}); break;
      case 2: run(Const<2>{}); break;
      case 3: run(Const<3>{}); break;
      case 4: if constexpr (kWidest >= 4) run(Const<4>{}); break;
      default: if constexpr (kWidest >= 5) run(Const<5>{}); break;
    }
    n += width;
  }
}

// Packs `rows` rows of a matrix with `blocks` blocks of H columns side by side, each block padded with zeros to HP, as
// rows `offset` and on of a packed matrix of `total` rows.
template <class T>
void pack_rows(const T* source, int64_t row_stride, int rows, int H, int HP, int blocks, T* packed, int total, int offset) {
  constexpr int W = lanes<T>;
  const int per_block = HP / W, vectors = per_block * blocks;
  for (int n = 0; n < vectors;) {
    const int width = panel_width(vectors - n);
    T* to = packed + (size_t)n * W * total + (size_t)offset * width * W;
    for (int k = 0; k < rows; k++)
      for (int v = 0; v < width; v++) {
        const int block = (n + v) / per_block, column = (n + v) % per_block * W;
        store(to + ((size_t)k * width + v) * W, load_row(source + k * row_stride + block * H + column, H - column));
      }
    n += width;
  }
}

// Packs the transposes of `blocks` matrices of `columns` rows by H columns, side by side in `source`, one below the
// other: row b * H + k, column j is source[j * row_stride + b * H + k].
template <class T>
void pack_transposed(const T* source, int64_t row_stride, int blocks, int H, int columns, int vectors, T* packed) {
  constexpr int W = lanes<T>;
  for (int n = 0; n < vectors;) {
    const int width = panel_width(vectors - n);
    T* to = packed + (size_t)n * W * blocks * H;
    for (int j = 0; j < width * W; j++)
      for (int k = 0; k < blocks * H; k++)
        to[(size_t)k * width * W + j] = n * W + j < columns ? source[(n * W + j) * row_stride + k] : T(0);
    n += width;
  }
}

}  // namespace rnn::RNN_ISA
