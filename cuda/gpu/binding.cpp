// Registers the CUDA implementation of edgesearch::rnn_forward and rnn_backward: on the tensors' device, on its current
// stream.
#include <torch/csrc/stable/accelerator.h>

#include "op.h"

namespace rnn::gpu {
namespace {

cudaStream_t current_stream(const Tensor& x) {
  void* stream;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(x.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

ForwardResult rnn_forward(Tensor x, MaybeTensor h0, MaybeTensor c0, Tensor W, Tensor U, Tensor b0, MaybeTensor b1,
                          MaybeTensor b2, MaybeTensor b3, MaybeTensor first, MaybeTensor second, MaybeTensor lengths,
                          int64_t cell, int64_t gate, int64_t update, bool reverse, bool save) {
  const torch::stable::accelerator::DeviceGuard guard(x.get_device_index());
  const Arguments a(x, h0, c0, W, U, {b0, b1, b2, b3}, first, second, lengths, cell, gate, update, reverse);
  return forward_op(a, save, current_stream(x));
}

BackwardResult rnn_backward(MaybeTensor d_out, MaybeTensor d_h, MaybeTensor d_c, Tensor x, MaybeTensor h0, MaybeTensor c0,
                            Tensor W, Tensor U, Tensor b0, MaybeTensor b1, MaybeTensor b2, MaybeTensor b3,
                            MaybeTensor first, MaybeTensor second, MaybeTensor lengths, Tensor out, Tensor pre,
                            Tensor cells, int64_t cell, int64_t gate, int64_t update, bool reverse, bool need_x) {
  const torch::stable::accelerator::DeviceGuard guard(x.get_device_index());
  const Arguments a(x, h0, c0, W, U, {b0, b1, b2, b3}, first, second, lengths, cell, gate, update, reverse);
  if (d_out) d_out = dense_rows(*d_out);
  return backward_op(a, {d_out, dense(d_h), dense(d_c)}, {out, pre, cells}, need_x, current_stream(x));
}

}  // namespace
}  // namespace rnn::gpu

STABLE_TORCH_LIBRARY_IMPL(edgesearch, CUDA, m) {
  m.impl("rnn_forward", TORCH_BOX(&rnn::gpu::rnn_forward));
  m.impl("rnn_backward", TORCH_BOX(&rnn::gpu::rnn_backward));
}
