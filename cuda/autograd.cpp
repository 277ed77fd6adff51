// The derivative of edgesearch::rnn_forward in C++: a third of a small op's time would otherwise go into Python.
//
// Unlike binding.cpp this needs torch's own headers, so it is built once for each torch version, as a library of its own.
// The operators are called through the dispatcher, below the Autograd key, so that tracing and other devices see them.
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <optional>
#include <tuple>

namespace {

using at::Tensor;
using Maybe = std::optional<Tensor>;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kLSTM = 5;
constexpr int kTensors = 11;  // x, h0, c0, W, U, b0..b3, first, second: what rnn_backward has gradients of
constexpr int kOthers = 6;    // lengths, cell, gate, update, reverse, save

using Outputs = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;
using Gradients =
    std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
using Forward = Outputs(const Tensor&, const Maybe&, const Maybe&, const Tensor&, const Tensor&, const Tensor&,
                        const Maybe&, const Maybe&, const Maybe&, const Maybe&, const Maybe&, const Maybe&, int64_t,
                        int64_t, int64_t, bool, bool);
using Backward = Gradients(const Maybe&, const Maybe&, const Maybe&, const Tensor&, const Maybe&, const Maybe&,
                           const Tensor&, const Tensor&, const Tensor&, const Maybe&, const Maybe&, const Maybe&,
                           const Maybe&, const Maybe&, const Maybe&, const Tensor&, const Tensor&, const Tensor&,
                           int64_t, int64_t, int64_t, bool, bool);

const auto& forward_op() {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("edgesearch::rnn_forward", "").typed<Forward>();
  return op;
}
const auto& backward_op() {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("edgesearch::rnn_backward", "").typed<Backward>();
  return op;
}

Tensor or_undefined(const Maybe& t) { return t.value_or(Tensor()); }
Maybe or_none(const Tensor& t) { return t.defined() ? Maybe(t) : Maybe(); }

struct Sequence : torch::autograd::Function<Sequence> {
  static variable_list forward(AutogradContext* context, const Tensor& x, const Maybe& h0, const Maybe& c0,
                               const Tensor& W, const Tensor& U, const Tensor& b0, const Maybe& b1, const Maybe& b2,
                               const Maybe& b3, const Maybe& first, const Maybe& second, const Maybe& lengths,
                               int64_t cell, int64_t gate, int64_t update, bool reverse, bool save) {
    at::AutoDispatchBelowADInplaceOrView below;
    const auto [out, h, c, pre, cells] = forward_op().call(x, h0, c0, W, U, b0, b1, b2, b3, first, second, lengths, cell,
                                                           gate, update, reverse, save);
    context->save_for_backward({x, or_undefined(h0), or_undefined(c0), W, U, b0, or_undefined(b1), or_undefined(b2),
                                or_undefined(b3), or_undefined(first), or_undefined(second), or_undefined(lengths), out,
                                pre, cells});
    context->saved_data["cell"] = cell;
    context->saved_data["gate"] = gate;
    context->saved_data["update"] = update;
    context->saved_data["reverse"] = reverse;
    context->mark_non_differentiable({pre, cells});
    context->set_materialize_grads(false);
    return {out, h, c, pre, cells};
  }

  static variable_list backward(AutogradContext* context, const variable_list& incoming) {
    const variable_list s = context->get_saved_variables();
    const int64_t cell = context->saved_data["cell"].toInt();
    const Maybe d_c = cell == kLSTM ? or_none(incoming[2]) : Maybe();
    const Gradients found = backward_op().call(
        or_none(incoming[0]), or_none(incoming[1]), d_c, s[0], or_none(s[1]), or_none(s[2]), s[3], s[4], s[5],
        or_none(s[6]), or_none(s[7]), or_none(s[8]), or_none(s[9]), or_none(s[10]), or_none(s[11]), s[12], s[13], s[14],
        cell, context->saved_data["gate"].toInt(), context->saved_data["update"].toInt(),
        context->saved_data["reverse"].toBool(), context->needs_input_grad(0));
    variable_list result = std::apply([](const auto&... each) { return variable_list{each...}; }, found);
    size_t edge = 0;  // torch counts the tensors that were given
    for (int i = 0; i < kTensors; i++)
      if (!s[i].defined() || !context->needs_input_grad(edge++)) result[i] = Tensor();
    result.resize(kTensors + kOthers);
    return result;
  }
};

Outputs forward(const Tensor& x, const Maybe& h0, const Maybe& c0, const Tensor& W, const Tensor& U, const Tensor& b0,
                const Maybe& b1, const Maybe& b2, const Maybe& b3, const Maybe& first, const Maybe& second,
                const Maybe& lengths, int64_t cell, int64_t gate, int64_t update, bool reverse, bool save) {
  const variable_list r = Sequence::apply(x, h0, c0, W, U, b0, b1, b2, b3, first, second, lengths, cell, gate, update,
                                          reverse, save);
  return {r[0], r[1], r[2], r[3], r[4]};
}

bool requires_gradient(const Maybe& t) { return t && t->requires_grad(); }

Gradients backward(const Maybe& d_out, const Maybe& d_h, const Maybe& d_c, const Tensor& x, const Maybe& h0,
                   const Maybe& c0, const Tensor& W, const Tensor& U, const Tensor& b0, const Maybe& b1, const Maybe& b2,
                   const Maybe& b3, const Maybe& first, const Maybe& second, const Maybe& lengths, const Tensor& out,
                   const Tensor& pre, const Tensor& cells, int64_t cell, int64_t gate, int64_t update, bool reverse,
                   bool need_x) {
  if (at::GradMode::is_enabled())
    for (const Maybe& t : {d_out, d_h, d_c, Maybe(x), h0, c0, Maybe(W), Maybe(U), Maybe(b0), b1, b2, b3, first, second})
      TORCH_CHECK(!requires_gradient(t), "the fused op has no second derivative; set backend='eager' for double backward");
  at::AutoDispatchBelowADInplaceOrView below;
  return backward_op().call(d_out, d_h, d_c, x, h0, c0, W, U, b0, b1, b2, b3, first, second, lengths, out, pre, cells,
                            cell, gate, update, reverse, need_x);
}

}  // namespace

TORCH_LIBRARY_IMPL(edgesearch, Autograd, m) {
  m.impl("rnn_forward", &forward);
  m.impl("rnn_backward", &backward);
}
