"""Flash, RAM and MACs of a `ModelSpec` at given bit widths, and the reference project's own size formula.

Sparse matrices are priced in the cheapest of three encodings, their index bytes included:

* dense: every entry at its width;
* bitmap: one bit an entry, then the non-zeros;
* index: the number of non-zeros of each row, then column and value of each non-zero.
"""

from dataclasses import dataclass
from typing import Literal

from edgesearch.cells.spec import LayerSpec, ModelSpec, TensorSpec
from edgesearch.config import BudgetConfig, QuantConfig

Encoding = Literal["dense", "bitmap", "index"]


@dataclass(frozen=True)
class Widths:
    """Bits of a stored weight and of an activation; biases and scalars are stored like activations."""

    weight_bits: int
    activation_bits: int

    @classmethod
    def of(cls, quant: QuantConfig) -> "Widths":
        """Return the widths of the integer model."""
        return cls(quant.weight_bits, quant.activation_bits)

    @property
    def label(self) -> str:
        """Name for tables."""
        return "float32" if self == FLOAT32 else f"{self.weight_bits}-bit"


FLOAT32 = Widths(32, 32)


@dataclass(frozen=True)
class Size:
    """Bytes of flash (constants only) and RAM, multiply-accumulates of one inference, and each matrix's encoding."""

    flash_bytes: int
    ram_bytes: int
    macs: int
    encodings: dict[str, Encoding]


def model_size(spec: ModelSpec, widths: Widths) -> Size:
    """Return what one inference of `spec` costs when stored at `widths`."""
    flash, encodings = 0, {}
    for tensor in spec.tensors():
        if tensor.role == "matrix":
            cost, encodings[tensor.name] = matrix_bytes(tensor, widths.weight_bits)
            flash += cost
        else:
            flash += _packed(tensor.size, widths.activation_bits)
    return Size(flash, _ram_values(spec) * _packed(1, widths.activation_bits), macs(spec), encodings)


def matrix_bytes(tensor: TensorSpec, bits: int) -> tuple[int, Encoding]:
    """Return the bytes of a matrix with `bits` a value in its cheapest encoding, and that encoding."""
    rows, columns = tensor.shape
    values = _packed(tensor.nonzeros, bits)
    counters = rows * (1 if columns < 256 else 2)
    indices = tensor.nonzeros * (1 if columns <= 256 else 2)
    costs: dict[Encoding, int] = {
        "dense": _packed(tensor.size, bits),
        "bitmap": _packed(tensor.size, 1) + values,
        "index": counters + indices + values,
    }
    best = min(costs, key=lambda encoding: costs[encoding])
    return costs[best], best


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


def _ram_values(spec: ModelSpec) -> int:
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


def edgeml_bytes(spec: ModelSpec) -> int:
    """Return the reference project's size: 4 bytes a weight, 8 a non-zero where fewer than half of a matrix is kept."""
    return sum(8 * t.nonzeros if 2 * t.nonzeros < t.size else 4 * t.size for t in spec.tensors())


def over_budget(size: Size, budget: BudgetConfig) -> list[str]:
    """Return what is needed and allowed for each limit of the budget that `size` exceeds."""
    checks = (
        ("flash_bytes", size.flash_bytes, budget.flash_bytes),
        ("ram_bytes", size.ram_bytes, budget.ram_bytes),
        ("macs", size.macs, budget.macs),
    )
    return [
        f"{needed} for budget.{name}={limit}" for name, needed, limit in checks if limit is not None and needed > limit
    ]


def _packed(count: int, bits: int) -> int:
    return -(-count * bits // 8)
