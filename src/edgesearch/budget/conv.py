"""Flash, RAM and MACs of a convolutional network in closed form, as float32 and as its integer program.

The program keeps the window, the maps that a layer reads and writes, and the logits. Its dense matrices may be sparse,
its kernels are not.
"""

from edgesearch.budget.storage import FLOAT32, SCALING, Size, Widths, stored
from edgesearch.cells.conv import ConvSpec, Stage
from edgesearch.numerics.format import Format
from edgesearch.numerics.packing import stored_bits


def conv_size(spec: ConvSpec, widths: Widths) -> Size:
    """Return what one inference of `spec` costs."""
    if widths == FLOAT32:
        flash = 4 * spec.nonzeros
        maps = [stage.size for stage in spec.stages]
        busiest = max(before + after for before, after in zip([_window(spec), *maps], maps, strict=False))
        return Size(flash, 4 * busiest, conv_macs(spec))
    activation = 1 if widths.activation_bits <= 8 else 2
    flash = widths.scaling_bytes * SCALING * spec.input_size
    for stage in spec.stages:
        if stage.weighs:
            flash += _weights(stage, widths.weight_bits) + 2 * stage.outputs
    ram = 2 * spec.classes + 4 + widths.frame_bytes * (spec.input_size + _window(spec))
    unit = max(2, widths.frame_bytes)
    sizes = [widths.frame_bytes * _window(spec), *(activation * stage.size for stage in spec.stages[:-1])]
    maps = [-(-size // unit) * unit for size in sizes]
    ram += max(map(sum, zip(maps, [*maps[1:], 0], strict=True)))
    return Size(flash, ram, conv_macs(spec) + _window(spec))


def conv_macs(spec: ConvSpec) -> int:
    """Return the multiply-accumulates of one window."""
    total = 0
    for stage in spec.stages:
        if stage.weighs:
            (tensor, *_) = stage.tensors()
            high, wide = stage.places
            total += tensor.nonzeros * high * wide
    return total


def _window(spec: ConvSpec) -> int:
    return spec.steps * spec.input_size


def _weights(stage: Stage, bits: int) -> int:
    (tensor, *_) = stage.tensors()
    if stage.kind == "dense":
        rows, columns = tensor.shape
        return stored(columns, rows, tensor.nonzeros, bits)
    return -(-tensor.size * stored_bits(Format(bits, 0)) // 8)
