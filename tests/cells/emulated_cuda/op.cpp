// The CUDA op on CPU tensors, over the emulated runtime: edgesearch_emulated::rnn_forward and rnn_backward, with the
// schemas of the real ones, and `device`, which sets how large the emulated device is and the order of its threads.
#define RNN_INLINE inline __attribute__((always_inline))
#include "gpu/kernel.cu"
#include "gpu/op.h"

namespace rnn::gpu {
namespace {

thread_local Pack<double> dynamic_shared_memory[(emulated::kSharedBytes + emulated::kFence) / sizeof(Pack<double>)];

ForwardResult rnn_forward(Tensor x, MaybeTensor h0, MaybeTensor c0, Tensor W, Tensor U, Tensor b0, MaybeTensor b1,
                          MaybeTensor b2, MaybeTensor b3, MaybeTensor first, MaybeTensor second, MaybeTensor lengths,
                          int64_t cell, int64_t gate, int64_t update, bool reverse, bool save) {
  const Arguments a(x, h0, c0, W, U, {b0, b1, b2, b3}, first, second, lengths, cell, gate, update, reverse);
  return forward_op(a, save, nullptr);
}

BackwardResult rnn_backward(MaybeTensor d_out, MaybeTensor d_h, MaybeTensor d_c, Tensor x, MaybeTensor h0, MaybeTensor c0,
                            Tensor W, Tensor U, Tensor b0, MaybeTensor b1, MaybeTensor b2, MaybeTensor b3,
                            MaybeTensor first, MaybeTensor second, MaybeTensor lengths, Tensor out, Tensor pre,
                            Tensor cells, int64_t cell, int64_t gate, int64_t update, bool reverse, bool need_x) {
  const Arguments a(x, h0, c0, W, U, {b0, b1, b2, b3}, first, second, lengths, cell, gate, update, reverse);
  if (d_out) d_out = dense_rows(*d_out);
  return backward_op(a, {d_out, dense(d_h), dense(d_c)}, {out, pre, cells}, need_x, nullptr);
}

// To be called first, from the thread that then calls the op.
void device(int64_t processors, int64_t shared_bytes, int64_t seed) {
  emulated::shared_memory = reinterpret_cast<unsigned char*>(dynamic_shared_memory);
  emulated::device.processors = (int)processors;
  emulated::device.shared_bytes = (int)shared_bytes;
  emulated::device.random.seed((unsigned)seed);
}

// Kernels that break a rule, for the emulation's own tests.
__global__ void divergent_kernel() {
  if (threadIdx.x == 1) return;
  __syncthreads();
}
__global__ void racing_kernel(double* to) {  // reads its neighbour's value without a barrier in between
  double* values = shared_memory<double>();
  values[threadIdx.x] = threadIdx.x;
  to[threadIdx.x] = values[(threadIdx.x + 1) % blockDim.x];
}
__global__ void overrunning_kernel() { shared_memory<double>()[8] = 1; }

Tensor broken(Tensor like, int64_t which) {
  Tensor to = empty(like, {8});
  check(which == 0   ? launch(divergent_kernel, dim3(1), dim3(8), 64, nullptr)
        : which == 1 ? launch(racing_kernel, dim3(1), dim3(8), 64, nullptr, data<double>(to))
                     : launch(overrunning_kernel, dim3(1), dim3(8), 64, nullptr));
  return to;
}

}  // namespace
}  // namespace rnn::gpu

STABLE_TORCH_LIBRARY(edgesearch_emulated, m) {
  m.def("rnn_forward(Tensor x, Tensor? h0, Tensor? c0, Tensor W, Tensor U, Tensor b0, Tensor? b1, Tensor? b2, Tensor? b3, "
        "Tensor? first, Tensor? second, Tensor? lengths, int cell, int gate, int update, bool reverse, bool save) -> "
        "(Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def("rnn_backward(Tensor? d_out, Tensor? d_h, Tensor? d_c, Tensor x, Tensor? h0, Tensor? c0, Tensor W, Tensor U, "
        "Tensor b0, Tensor? b1, Tensor? b2, Tensor? b3, Tensor? first, Tensor? second, Tensor? lengths, Tensor out, "
        "Tensor pre, Tensor cells, int cell, int gate, int update, bool reverse, bool need_x) -> "
        "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def("device(int processors, int shared_bytes, int seed) -> ()");
  m.def("broken(Tensor like, int which) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(edgesearch_emulated, CPU, m) {
  m.impl("rnn_forward", TORCH_BOX(&rnn::gpu::rnn_forward));
  m.impl("rnn_backward", TORCH_BOX(&rnn::gpu::rnn_backward));
  m.impl("broken", TORCH_BOX(&rnn::gpu::broken));
}
STABLE_TORCH_LIBRARY_IMPL(edgesearch_emulated, CompositeExplicitAutograd, m) { m.impl("device", TORCH_BOX(&rnn::gpu::device)); }
