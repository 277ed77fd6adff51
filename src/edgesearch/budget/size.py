"""Flash, RAM and MACs of a `ModelSpec` in closed form: of the float32 model, and of its integer program, as exported.

The program's figures are exact for dense matrices. A sparse tensor's non-zeros are taken to spread evenly over the
blocks of a cell with several gates, which training decides.
"""

from edgesearch.budget.conv import conv_size
from edgesearch.budget.storage import FLOAT32, SCALING, Size, Widths, stored
from edgesearch.cells.classifier import AnySpec
from edgesearch.cells.conv import ConvSpec
from edgesearch.cells.spec import LayerSpec, ModelSpec, TensorSpec
from edgesearch.config import BudgetConfig
from edgesearch.numerics.approximation import APPROXIMATED, SOURCE, Table, approximate
from edgesearch.numerics.format import Format


def model_size(spec: AnySpec, widths: Widths) -> Size:
    """Return what one inference of `spec` costs: stored as float32, or as the integer program of the given widths."""
    if isinstance(spec, ConvSpec):
        return conv_size(spec, widths)
    if widths == FLOAT32 or spec.bidirectional:
        bits = widths.weight_bits
        flash = sum(
            stored(t.shape[1], t.shape[0], t.nonzeros, bits) if t.role == "matrix" else t.size * bits // 8
            for t in spec.tensors()
        )
        return Size(flash, _float_values(spec) * bits // 8, macs(spec))
    return Size(_program_flash(spec, widths), _program_ram(spec, widths), _program_macs(spec, widths))


def _program_flash(spec: ModelSpec, widths: Widths) -> int:
    flash = widths.scaling_bytes * SCALING * spec.input_size
    flash += sum(table.flash_bytes for table in _tables(spec, widths).values())
    for layer in spec.layers():
        for tensor in layer.tensors():
            if tensor.role == "matrix":
                flash += _blocks(layer, tensor, widths.weight_bits)
            else:
                flash += 2 * tensor.size
    head, bias = spec.head()
    columns, rows = head.shape
    return flash + stored(columns, rows, head.nonzeros, widths.weight_bits) + 2 * bias.size


def _blocks(layer: LayerSpec, tensor: TensorSpec, bits: int) -> int:
    """Bytes of a tensor cut into one matrix (outputs, inputs) a gate; the first factor of a low rank is not cut."""
    inputs, outputs = tensor.shape
    count = 1 if tensor.name in ("W1", "U1") else layer.kind.blocks
    parts = [tensor.nonzeros // count + (k < tensor.nonzeros % count) for k in range(count)]
    return sum(stored(inputs, outputs // count, nonzeros, bits) for nonzeros in parts)


def _tables(spec: ModelSpec, widths: Widths) -> dict[str, Table]:
    used = {spec.update_nonlinearity} | ({spec.gate_nonlinearity} if spec.cell != "fastrnn" else set())
    wide = widths.activation_bits > 8
    tables = {}
    for function in sorted(str(name) for name in used if name in APPROXIMATED):
        fraction = widths.activation_bits - (2 if wide else 1)
        to = Format(widths.activation_bits, fraction, wide or function == "tanh")
        tables[function] = approximate(function, SOURCE, to, widths.function_error)
    return tables


def _program_ram(spec: ModelSpec, widths: Widths) -> int:
    """States, a frame in raw and in scaled numbers, what a step keeps in arrays, logits."""
    activation = 1 if widths.activation_bits <= 8 else 2
    ram = 2 * spec.input_size * widths.frame_bytes + 2 * spec.classes
    for layer in spec.layers():
        H, reset = layer.hidden_size, layer.kind.name == "gru" and not layer.reset_after
        arrays = 1 + (2 if reset else 0)  # the next h; r * h and z, which a second loop reads
        ram += (layer.kind.states + arrays) * H * activation
        ram += 2 * ((layer.wRank or 0) + (layer.uRank or 0) * (2 if reset else 1))
    return ram


def _program_macs(spec: ModelSpec, widths: Widths) -> int:
    """With the input's scaling and the polynomials of approximated functions."""
    orders: dict[str, int] = {name: table.coefficients.shape[1] - 1 for name, table in _tables(spec, widths).items()}
    gates = {"fastrnn": 0, "lstm": 3, "gru": 2}.get(spec.cell, 1)
    updates = 2 if spec.cell == "lstm" else 1
    gate = orders.get(str(spec.gate_nonlinearity), 0) if gates else 0
    applied = gates * gate + updates * orders.get(spec.update_nonlinearity, 0)
    units = sum(layer.hidden_size for layer in spec.layers())
    return macs(spec) + spec.steps * (spec.input_size + units * applied)


def macs(spec: ModelSpec) -> int:
    """Return the multiply-accumulates of one window: products with matrices' non-zeros and elementwise products."""
    a_step = 0
    for layer in spec.layers():
        a_step += sum(_uses(layer, t) * t.nonzeros for t in layer.tensors() if t.role == "matrix")
        a_step += layer.kind.products * layer.hidden_size
    return spec.steps * a_step + sum(t.nonzeros for t in spec.head() if t.role == "matrix")


def _uses(layer: LayerSpec, tensor: TensorSpec) -> int:
    """A low-rank GRU that resets before the product sends both h and r * h through its first factor."""
    twice = layer.kind.name == "gru" and not layer.reset_after and tensor.name == "U1"
    return 2 if twice else 1


def _float_values(spec: ModelSpec) -> int:
    """Numbers held at the peak of one inference: input, states, the busiest layer's scratch, logits."""
    layers = spec.layers()
    states = sum(layer.kind.states * layer.hidden_size for layer in layers)
    scratch = max(layer.kind.blocks * layer.hidden_size + max(layer.wRank or 0, layer.uRank or 0) for layer in layers)
    return _buffered(spec) + states + scratch + spec.classes


def _buffered(spec: ModelSpec) -> int:
    """Numbers of input kept: one frame when streaming; whole windows where a layer also runs backwards."""
    if not spec.bidirectional:
        return spec.input_size
    outputs = spec.steps * spec.hidden_size * 2
    widths = [layer.input_size * spec.steps for layer in spec.layers()[::2]]
    return max(width + (outputs if index + 1 < len(widths) else 0) for index, width in enumerate(widths))


def edgeml_bytes(spec: AnySpec) -> int:
    """Return the reference project's size: 4 bytes a weight, 8 a non-zero where fewer than half of a matrix is kept."""
    return sum(8 * t.nonzeros if 2 * t.nonzeros < t.size else 4 * t.size for t in spec.tensors())


def over_budget(size: Size, budget: BudgetConfig) -> list[str]:
    """Return what is needed and allowed for each limit of the budget that `size` exceeds."""
    return [
        f"{needed} for budget.{name}={limit}" + (f" less {kept} of the firmware" if kept else "")
        for name, needed, limit, kept in _limits(size, budget)
        if needed > limit - kept
    ]


def excess(size: Size, budget: BudgetConfig) -> dict[str, float]:
    """Return by what fraction `size` exceeds each limit of the budget, at most 0 where it fits."""
    return {name: needed / (limit - kept) - 1 for name, needed, limit, kept in _limits(size, budget)}


def _limits(size: Size, budget: BudgetConfig) -> list[tuple[str, int, int, int]]:
    """Name, need, limit and what the firmware keeps of it, of each limit that is set."""
    checks = (
        ("flash_bytes", size.flash_bytes, budget.flash_bytes, budget.firmware_flash_bytes),
        ("ram_bytes", size.ram_bytes, budget.ram_bytes, budget.firmware_ram_bytes),
        ("macs", size.macs, budget.macs, 0),
    )
    return [(name, needed, limit, kept) for name, needed, limit, kept in checks if limit is not None]
