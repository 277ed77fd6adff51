#include "kernel.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

namespace rnn::gpu {
namespace {

constexpr int kThreads = 512;       // of a block, at most
constexpr int kReduceThreads = 64;

// ---- arithmetic -------------------------------------------------------------------------------------------------

template <class T> struct Math {
  static RNN_INLINE T constant(double x) { return T(x); }
  static RNN_INLINE T sigmoid(T x) { return T(1) / (T(1) + std::exp(-x)); }
  static RNN_INLINE T tanh(T x) { return std::tanh(x); }
  static RNN_INLINE T clamp(T x, T low, T high) { return x < low ? low : x > high ? high : x; }
};
template <class T> using Act = Chosen<Math<T>, T>;

// Values that one load fetches.
template <class T> struct alignas(16) Pack { T at[16 / sizeof(T)]; };
template <class T> constexpr int kPack = 16 / sizeof(T);
template <class T> RNN_INLINE int padded_units(int64_t H) { return (int)((H + kPack<T> - 1) / kPack<T> * kPack<T>); }

// sums[n][r] += sum over k < K of left[r * stride + k] * weights[k * columns + n * apart]. `left` is aligned to packs. With
// few sums to a thread, the values of a pack are added up apart: a chain of additions would wait for each one.
template <int N, int R, class T>
__device__ __forceinline__ void add_product(const T* left, int stride, const T* weights, int columns, int apart, int K,
                                            T (&sums)[N][R]) {
  constexpr int P = kPack<T>, S = N * R >= 4 ? 1 : P;
  T part[S][N][R] = {};
  int k = 0;
  for (; k + P <= K; k += P) {
    Pack<T> values[R];
#pragma unroll
    for (int r = 0; r < R; r++) values[r] = *reinterpret_cast<const Pack<T>*>(left + r * stride + k);
#pragma unroll
    for (int i = 0; i < P; i++) {
#pragma unroll
      for (int n = 0; n < N; n++) {
        const T weight = weights[n * apart];
#pragma unroll
        for (int r = 0; r < R; r++) part[i % S][n][r] += values[r].at[i] * weight;
      }
      weights += columns;
    }
  }
  for (; k < K; k++) {
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int r = 0; r < R; r++) part[0][n][r] += left[r * stride + k] * weights[n * apart];
    weights += columns;
  }
#pragma unroll
  for (int n = 0; n < N; n++)
#pragma unroll
    for (int r = 0; r < R; r++) {
      T sum = part[0][n][r];
#pragma unroll
      for (int s = 1; s < S; s++) sum += part[s][n][r];
      sums[n][r] += sum;
    }
}

// ---- what a block keeps through all steps -----------------------------------------------------------------------

template <Cell C> constexpr bool kGru = C == Cell::GRUBefore || C == Cell::GRUAfter;
template <Cell C> constexpr int kJoint = kGru<C> ? 2 : blocks<C>;  // blocks of U that all multiply h

// Offsets in values. Forward: h before and after the step, r * h, c. Backward: gradients of pre-activations of this step
// and the one before, dh, dc, gradients of the biases.
struct Layout {
  int units;  // padded
  size_t h, reset, c, size;
  RNN_INLINE Layout(int cell_is_before, int cell_is_lstm, int padded_H, int rows)
      : units(padded_H), h(0), reset(h + (size_t)2 * rows * units), c(reset + (size_t)cell_is_before * rows * units),
        size(c + (size_t)cell_is_lstm * rows * units) {}
};

struct BackwardLayout {
  int units;
  size_t d, dh, dc, bias, size;
  RNN_INLINE BackwardLayout(int saved_blocks, int bias_count, int cell_is_lstm, int padded_H, int rows, int groups)
      : units(padded_H), d(0), dh(d + (size_t)2 * rows * saved_blocks * units), dc(dh + (size_t)rows * units),
        bias(dc + (size_t)cell_is_lstm * rows * units), size(bias + (size_t)groups * bias_count * units) {}
};

template <Cell C, class T> RNN_INLINE Layout forward_layout(int64_t H, int rows) {
  return {C == Cell::GRUBefore, C == Cell::LSTM, padded_units<T>(H), rows};
}
template <Cell C, class T> RNN_INLINE BackwardLayout backward_layout(int64_t H, int rows, int groups) {
  return {saved<C>, biases<C>, C == Cell::LSTM, padded_units<T>(H), rows, groups};
}

// Values of the copy of U, which the state follows.
template <Cell C, class T> RNN_INLINE size_t weight_values(int64_t H) {
  return ((size_t)H * blocks<C> * H + kPack<T> - 1) / kPack<T> * kPack<T>;
}

template <class T> __device__ void copy_weights(const T* from, T* to, int count) {
  const int threads = blockDim.x * blockDim.y;
  for (int i = threadIdx.y * blockDim.x + threadIdx.x; i < count; i += threads) to[i] = from[i];
}

template <class T> __device__ T* shared_memory() {
  extern __shared__ Pack<double> dynamic_shared_memory[];
  return reinterpret_cast<T*>(dynamic_shared_memory);
}

template <Cell C, class T> __device__ Scalars<T> scalars_of(const Parameters<T>& w) {
  if constexpr (C == Cell::FastRNN || C == Cell::FastGRNN) return {Math<T>::sigmoid(*w.first), Math<T>::sigmoid(*w.second)};
  else return {T(0), T(0)};
}

// The rows of one thread: batch indices from `first`, those of them that exist, and whether they take part in a step.
struct Rows {
  int64_t first;
  const Problem& p;
  __device__ bool exists(int r) const { return first + r < p.B; }
  __device__ bool active(int r, int64_t t) const { return exists(r) && (!p.lengths || t < p.lengths[first + r]); }
};

// ---- forward ----------------------------------------------------------------------------------------------------

template <Cell C, class T, int R, bool Fits>
__global__ void __launch_bounds__(kThreads) forward_kernel(const Problem p, const Parameters<T> w, const Forward<T> s) {
  constexpr int N = blocks<C>;
  constexpr bool before = C == Cell::GRUBefore, lstm = C == Cell::LSTM;
  const Act<T> act{p.gate, p.update};
  const Scalars<T> scalars = scalars_of<C>(w);
  const int H = (int)p.H, columns = N * H, rows = R * blockDim.y, mine = R * threadIdx.y;
  const int64_t HP = padded(p.H);
  const Layout l = forward_layout<C, T>(H, rows);
  const Rows own{(int64_t)blockIdx.x * rows + mine, p};
  const T* U = s.U;
  T* state = s.scratch ? s.scratch + blockIdx.x * l.size : shared_memory<T>();
  if constexpr (Fits) {
    copy_weights(s.U, shared_memory<T>(), H * columns);
    U = shared_memory<T>();
    state = shared_memory<T>() + weight_values<C, T>(H);
  }
  for (int j = threadIdx.x; j < H; j += blockDim.x)
    for (int r = 0; r < R; r++) {
      const int64_t at = (own.first + r) * p.H + j;
      state[l.h + (size_t)(mine + r) * l.units + j] = s.h0 && own.exists(r) ? s.h0[at] : T(0);
      if (lstm) state[l.c + (size_t)(mine + r) * l.units + j] = s.c0 && own.exists(r) ? s.c0[at] : T(0);
    }
  __syncthreads();
  for (int64_t step = 0; step < p.T; step++) {
    const int64_t t = p.reverse ? p.T - 1 - step : step, place = t * p.B + own.first;
    const T* now = state + l.h + (step & 1) * rows * l.units + (size_t)mine * l.units;
    T *next = state + l.h + (~step & 1) * rows * l.units + (size_t)mine * l.units, *c = state + l.c + (size_t)mine * l.units;
    T* reset_h = state + l.reset + (size_t)mine * l.units;
    if constexpr (before) {
      for (int j = threadIdx.x; j < H; j += blockDim.x) {
        T sums[1][R];
        for (int r = 0; r < R; r++) sums[0][r] = own.exists(r) ? s.xw[(place + r) * columns + j] : T(0);
        add_product<1, R>(now, l.units, U + j, columns, H, H, sums);
        for (int r = 0; r < R; r++) {
          reset_h[r * l.units + j] = reset(act, sums[0][r], w.bias[0][j]) * now[r * l.units + j];
          if (s.pre && own.exists(r)) s.pre[(place + r) * N * HP + j] = sums[0][r];
        }
      }
      __syncthreads();
    }
    for (int j = threadIdx.x; j < H; j += blockDim.x) {
      T sums[saved<C>][R] = {}, bias[biases<C>];
      for (int k = 0; k < biases<C>; k++) bias[k] = w.bias[k][j];
      for (int n = 0; n < N; n++)
        for (int r = 0; r < R; r++) sums[n][r] = own.exists(r) ? s.xw[(place + r) * columns + n * H + j] : T(0);
      if constexpr (before) {
        add_product<1, R>(now, l.units, U + H + j, columns, H, H, reinterpret_cast<T(&)[1][R]>(sums[1]));
        add_product<1, R>(reset_h, l.units, U + 2 * H + j, columns, H, H, reinterpret_cast<T(&)[1][R]>(sums[2]));
      } else if constexpr (C == Cell::GRUAfter) {
        T candidate[R];
        for (int r = 0; r < R; r++) {  // the product of the third block of U is kept apart from that of W
          candidate[r] = sums[2][r];
          sums[2][r] = T(0);
        }
        add_product<3, R>(now, l.units, U + j, columns, H, H, reinterpret_cast<T(&)[3][R]>(sums));
        for (int r = 0; r < R; r++) {
          sums[3][r] = sums[2][r];
          sums[2][r] = candidate[r];
        }
      } else {
        add_product<N, R>(now, l.units, U + j, columns, H, H, sums);
      }
#pragma unroll
      for (int r = 0; r < R; r++) {
        const T h = now[r * l.units + j], c_before = lstm ? c[r * l.units + j] : T(0);
        const bool active = own.active(r, t);
        T q[saved<C>];
#pragma unroll
        for (int k = 0; k < saved<C>; k++) q[k] = sums[k][r];
        Step<T> after{h, c_before};
        if (active) after = rnn::forward<C>(act, q, bias, scalars, h, c_before);
        next[r * l.units + j] = after.h;
        if (lstm) c[r * l.units + j] = after.c;
        if (!own.exists(r)) continue;
        s.out[(place + r) * p.H + j] = active ? after.h : T(0);
        if (lstm && s.cells) s.cells[(place + r) * p.H + j] = active ? after.c : T(0);
        if (s.pre)
#pragma unroll
          for (int k = before ? 1 : 0; k < saved<C>; k++) s.pre[((place + r) * saved<C> + k) * HP + j] = q[k];
      }
    }
    __syncthreads();
  }
  const T* last = state + l.h + (p.T & 1) * rows * l.units;
  for (int j = threadIdx.x; j < H; j += blockDim.x)
    for (int r = 0; r < R; r++) {
      if (!own.exists(r)) continue;
      s.h_last[(own.first + r) * p.H + j] = last[(size_t)(mine + r) * l.units + j];
      if (lstm) s.c_last[(own.first + r) * p.H + j] = state[l.c + (size_t)(mine + r) * l.units + j];
    }
}

// ---- backward ---------------------------------------------------------------------------------------------------

template <Cell C, class T, int R, bool Fits>
__global__ void __launch_bounds__(kThreads) backward_kernel(const Problem p, const Parameters<T> w, const Backward<T> s) {
  constexpr int S = saved<C>;
  constexpr bool before = C == Cell::GRUBefore, lstm = C == Cell::LSTM;
  const Act<T> act{p.gate, p.update};
  const Scalars<T> scalars = scalars_of<C>(w);
  const int H = (int)p.H, rows = R * blockDim.y, mine = R * threadIdx.y;
  const int64_t HP = padded(p.H);
  const BackwardLayout l = backward_layout<C, T>(H, rows, blockDim.y);
  const Rows own{(int64_t)blockIdx.x * rows + mine, p};
  const T* Ut = s.Ut;
  T* state = s.scratch ? s.scratch + blockIdx.x * l.size : shared_memory<T>();
  if constexpr (Fits) {
    copy_weights(s.Ut, shared_memory<T>(), blocks<C> * H * H);
    Ut = shared_memory<T>();
    state = shared_memory<T>() + weight_values<C, T>(H);
  }
  T *dh = state + l.dh + (size_t)mine * l.units, *dc = state + l.dc + (size_t)mine * l.units;
  T* bias_sums = state + l.bias + (size_t)threadIdx.y * biases<C> * l.units;
  double first = 0, second = 0;
  for (int j = threadIdx.x; j < H; j += blockDim.x) {
    for (int r = 0; r < R; r++) {
      const int64_t at = (own.first + r) * p.H + j;
      dh[r * l.units + j] = s.d_h_last && own.exists(r) ? s.d_h_last[at] : T(0);
      if (lstm) dc[r * l.units + j] = s.d_c_last && own.exists(r) ? s.d_c_last[at] : T(0);
    }
    for (int k = 0; k < biases<C>; k++) bias_sums[k * l.units + j] = T(0);
  }
  __syncthreads();
  for (int64_t step = p.T - 1; step >= 0; step--) {
    const int64_t t = p.reverse ? p.T - 1 - step : step, t_before = p.reverse ? t + 1 : t - 1;
    const int64_t place = t * p.B + own.first, place_before = t_before * p.B + own.first;
    T* d = state + l.d + ((step & 1) * rows + mine) * S * l.units;
    // the state before the step: the output of the step before, or the initial state where there was none
    auto state_before = [&](const T* outputs, const T* initial, int r, int j) {
      if (step > 0 && own.active(r, t_before)) return outputs[(place_before + r) * p.H + j];
      return initial ? initial[(own.first + r) * p.H + j] : T(0);
    };
    for (int j = threadIdx.x; j < H; j += blockDim.x) {
      T bias[biases<C>];
      for (int k = 0; k < biases<C>; k++) bias[k] = w.bias[k][j];
      for (int r = 0; r < R; r++) {
        T* d_row = d + (size_t)r * S * l.units + j;
        if (!own.active(r, t)) {
          for (int k = 0; k < S; k++) d_row[k * l.units] = T(0);
          if (!own.exists(r)) continue;
          for (int k = 0; k < S; k++) s.d_pre[((place + r) * S + k) * p.H + j] = T(0);
          s.before[(place + r) * p.H + j] = T(0);
          if (before) s.reset[(place + r) * p.H + j] = T(0);
          continue;
        }
        T q[S];
        for (int k = 0; k < S; k++) q[k] = s.pre[((place + r) * S + k) * HP + j];
        const T h = state_before(s.out, s.h0, r, j), c = lstm ? state_before(s.cells, s.c0, r, j) : T(0);
        T incoming = dh[r * l.units + j];
        if (s.d_out) incoming += s.d_out[t * s.d_out_step + (own.first + r) * s.d_out_row + j];
        const Gradients<C, T> g =
            rnn::backward<C>(act, q, bias, scalars, h, c, incoming, lstm ? dc[r * l.units + j] : T(0));
        for (int k = before ? 1 : 0; k < S; k++) {
          d_row[k * l.units] = g.pre[k];
          s.d_pre[((place + r) * S + k) * p.H + j] = g.pre[k];
        }
        for (int k = before ? 1 : 0; k < biases<C>; k++) bias_sums[k * l.units + j] += g.bias[k];
        s.before[(place + r) * p.H + j] = h;
        dh[r * l.units + j] = g.h;
        if (lstm) dc[r * l.units + j] = g.c;
        first += g.first;
        second += g.second;
      }
    }
    __syncthreads();
    if constexpr (before) {
      for (int j = threadIdx.x; j < H; j += blockDim.x) {
        T sums[1][R] = {};
        add_product<1, R>(d + 2 * l.units, S * l.units, Ut + (size_t)2 * H * H + j, H, 0, H, sums);
        for (int r = 0; r < R; r++) {
          if (!own.active(r, t)) continue;
          const T q = s.pre[(place + r) * S * HP + j], b = w.bias[0][j], h = state_before(s.out, s.h0, r, j);
          T gradient = dh[r * l.units + j];
          const T dr = backward_reset(act, q, b, h, sums[0][r], gradient);
          dh[r * l.units + j] = gradient;
          d[(size_t)r * S * l.units + j] = dr;
          s.d_pre[(place + r) * S * p.H + j] = dr;
          s.reset[(place + r) * p.H + j] = reset(act, q, b) * h;
          bias_sums[j] += dr;
        }
      }
      __syncthreads();
    }
    for (int j = threadIdx.x; j < H; j += blockDim.x) {
      T sums[1][R] = {};
      for (int k = 0; k < kJoint<C>; k++)
        add_product<1, R>(d + k * l.units, S * l.units, Ut + (size_t)k * H * H + j, H, 0, H, sums);
      if constexpr (C == Cell::GRUAfter)
        add_product<1, R>(d + 3 * l.units, S * l.units, Ut + (size_t)2 * H * H + j, H, 0, H, sums);
      for (int r = 0; r < R; r++) dh[r * l.units + j] += sums[0][r];
    }
  }
  const int64_t group = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
  for (int j = threadIdx.x; j < H; j += blockDim.x) {
    for (int r = 0; r < R; r++) {
      if (!own.exists(r)) continue;
      s.d_h0[(own.first + r) * p.H + j] = dh[r * l.units + j];
      if (lstm) s.d_c0[(own.first + r) * p.H + j] = dc[r * l.units + j];
    }
    for (int k = 0; k < biases<C>; k++) s.bias_sums[(group * biases<C> + k) * p.H + j] = bias_sums[k * l.units + j];
  }
  if constexpr (C == Cell::FastRNN || C == Cell::FastGRNN) {
    double* to = s.scalar_sums + (group * blockDim.x + threadIdx.x) * 2;
    to[0] = first;
    to[1] = second;
  }
}

// ---- sums over blocks -------------------------------------------------------------------------------------------

// The sum of from[i * apart] over i < count, by one block, in an order that depends on nothing else.
template <class V> __device__ double block_sum(const V* from, int64_t count, int64_t apart) {
  __shared__ double part[kReduceThreads];
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kReduceThreads) sum += from[i * apart];
  part[threadIdx.x] = sum;
  __syncthreads();
  for (int width = kReduceThreads / 2; width > 0; width /= 2) {
    if ((int)threadIdx.x < width) part[threadIdx.x] += part[threadIdx.x + width];
    __syncthreads();
  }
  return part[0];
}

// A block for each bias of each unit, and two for the scalars.
template <class T>
__global__ void reduce_kernel(const Backward<T> s, const Reduced<T> to, const Parameters<T> w, int64_t groups, int64_t threads,
                              int64_t columns, int64_t H) {
  if (blockIdx.x < columns) {
    const double sum = block_sum(s.bias_sums + blockIdx.x, groups, columns);
    if (threadIdx.x == 0) to.bias[blockIdx.x / H][blockIdx.x % H] = T(sum);
  } else {
    const int64_t which = blockIdx.x - columns;
    const double sum = block_sum(s.scalar_sums + which, threads, 2);
    const double value = Math<double>::sigmoid(which ? *w.second : *w.first);
    if (threadIdx.x == 0) *(which ? to.second : to.first) = T(sum * value * (1 - value));
  }
}

// ---- launches ---------------------------------------------------------------------------------------------------

template <class F> cudaError_t for_cell(Cell cell, F&& f) {
  switch (cell) {
    case Cell::FastRNN: return f(std::integral_constant<Cell, Cell::FastRNN>{});
    case Cell::FastGRNN: return f(std::integral_constant<Cell, Cell::FastGRNN>{});
    case Cell::UGRNN: return f(std::integral_constant<Cell, Cell::UGRNN>{});
    case Cell::GRUBefore: return f(std::integral_constant<Cell, Cell::GRUBefore>{});
    case Cell::GRUAfter: return f(std::integral_constant<Cell, Cell::GRUAfter>{});
    default: return f(std::integral_constant<Cell, Cell::LSTM>{});
  }
}

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                   const Arguments&... arguments) {
  if (shared > 48 * 1024) {
    const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
    if (error != cudaSuccess) return error;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

constexpr int kRows = 4;  // of a thread, where there are rows enough for all multiprocessors

}  // namespace

template <class T> cudaError_t plan(const Problem& p, bool backward, Plan* to) {
  int device, processors, shared;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error != cudaSuccess) return error;
  return for_cell(p.cell, [&](auto cell) {
    constexpr Cell C = decltype(cell)::value;
    Plan& q = *to;
    q.units = (int)std::min<int64_t>(kThreads, (p.H + 31) / 32 * 32);
    auto shape = [&](int per_thread) {
      q.per_thread = per_thread;
      const int64_t wanted = (p.B + (int64_t)processors * per_thread - 1) / ((int64_t)processors * per_thread);
      q.groups = per_thread == 1 ? 1 : (int)std::clamp<int64_t>(wanted, 1, std::max(1, kThreads / 2 / q.units));
      q.blocks = (p.B + q.rows() - 1) / q.rows();
      return backward ? backward_layout<C, T>(p.H, q.rows(), q.groups).size : forward_layout<C, T>(p.H, q.rows()).size;
    };
    size_t state = shape(p.B <= 2 * (int64_t)processors ? 1 : kRows);
    q.fits = (weight_values<C, T>(p.H) + state) * sizeof(T) <= (size_t)shared;
    if (!q.fits) state = shape(kRows);
    const bool state_fits = q.fits || state * sizeof(T) <= (size_t)shared;
    q.shared_bytes = state_fits ? ((q.fits ? weight_values<C, T>(p.H) : 0) + state) * sizeof(T) : 0;
    q.scratch = state_fits ? 0 : state * q.blocks;
    return cudaSuccess;
  });
}

template <class T>
cudaError_t forward(const Problem& p, const Plan& plan, const Parameters<T>& w, const Forward<T>& s, cudaStream_t stream) {
  return for_cell(p.cell, [&](auto cell) {
    constexpr Cell C = decltype(cell)::value;
    auto kernel = !plan.fits            ? forward_kernel<C, T, kRows, false>
                  : plan.per_thread > 1 ? forward_kernel<C, T, kRows, true>
                                        : forward_kernel<C, T, 1, true>;
    return launch(kernel, dim3((unsigned)plan.blocks), dim3(plan.units, plan.groups), plan.shared_bytes, stream, p, w, s);
  });
}

template <class T>
cudaError_t backward(const Problem& p, const Plan& plan, const Parameters<T>& w, const Backward<T>& s, cudaStream_t stream) {
  return for_cell(p.cell, [&](auto cell) {
    constexpr Cell C = decltype(cell)::value;
    auto kernel = !plan.fits            ? backward_kernel<C, T, kRows, false>
                  : plan.per_thread > 1 ? backward_kernel<C, T, kRows, true>
                                        : backward_kernel<C, T, 1, true>;
    return launch(kernel, dim3((unsigned)plan.blocks), dim3(plan.units, plan.groups), plan.shared_bytes, stream, p, w, s);
  });
}

template <class T>
cudaError_t reduce(const Problem& p, const Plan& plan, const Parameters<T>& w, const Backward<T>& s, const Reduced<T>& to,
                   cudaStream_t stream) {
  return for_cell(p.cell, [&](auto cell) {
    constexpr Cell C = decltype(cell)::value;
    constexpr int with_scalars = C == Cell::FastRNN || C == Cell::FastGRNN ? 2 : 0;
    const int64_t groups = plan.blocks * plan.groups, columns = biases<C> * p.H;
    return launch(reduce_kernel<T>, dim3((unsigned)(columns + with_scalars)), dim3(kReduceThreads), 0, stream, s, to, w,
                  groups, groups * plan.units, columns, p.H);
  });
}

#define RNN_INSTANTIATE(T)                                                                                              \
  template cudaError_t plan<T>(const Problem&, bool, Plan*);                                                            \
  template cudaError_t forward<T>(const Problem&, const Plan&, const Parameters<T>&, const Forward<T>&, cudaStream_t);  \
  template cudaError_t backward<T>(const Problem&, const Plan&, const Parameters<T>&, const Backward<T>&, cudaStream_t); \
  template cudaError_t reduce<T>(const Problem&, const Plan&, const Parameters<T>&, const Backward<T>&,                 \
                                 const Reduced<T>&, cudaStream_t);
RNN_INSTANTIATE(float)
RNN_INSTANTIATE(double)

}  // namespace rnn::gpu
