"""Convolutions and poolings as C loops."""

from collections.abc import Callable, Iterator

from edgesearch.export.c_parts import c_type, power
from edgesearch.export.c_symbols import Symbols
from edgesearch.numerics.operations import Convolve, Geometry, Pool
from edgesearch.numerics.packing import stored_bits
from edgesearch.numerics.program import IntegerProgram


def convolution(
    program: IntegerProgram, operation: Convolve, source: str, kind: str, symbols: Symbols
) -> Iterator[str]:
    """Yield the loops over channels and places up to the exact sum `sum` of type `kind`, at unit `i`."""
    g, shape = operation.geometry, program.constants[operation.weights].integers.shape
    common = program.fraction(operation)
    align = common - program.product_fraction(operation.weights, operation.source)
    bits = stored_bits(program.format(operation.weights))
    per_group, outputs = g.channels // operation.groups, shape[0] // operation.groups
    weights, read = symbols.constant(operation.weights), symbols.macro("AT")

    def product(at: str) -> str:
        index = "size_t" if bits >= 8 else "uint32_t"
        own = f"((({index})oc * {per_group} + ic) * {g.kernel[0]} + ky) * {g.kernel[1]} + kx"
        packed = f"{symbols.of(f'unpacked_{bits}')}({weights}, {own})"
        weight = f"{read}(int{bits}_t, {weights} + {own})" if bits >= 8 else packed
        return f"sum += ({kind}){weight} * {source}[{at}];"

    yield from _places(g, shape[0])
    yield f"      {kind} sum = 0;"
    if operation.groups > 1:
        yield f"      const int group = oc / {outputs} * {per_group};"
    yield f"      for (ic = 0; ic < {per_group}; ic++)"
    channel = "ic" if operation.groups == 1 else "group + ic"
    yield from _under_kernel(g, channel, product, 8)
    if align:
        yield f"      sum *= {power(kind, align)};"
    if operation.bias is not None:
        shift = common - program.format(operation.bias).fraction
        numbers = program.constants[operation.bias].integers
        place = f"{symbols.constant(operation.bias)} + oc"
        array = f"{read}({c_type(program.format(operation.bias))}, {place})"
        bias = array if numbers.size > 1 else f"({int(numbers[0])})"  # (which has no array)
        yield f"      sum += ({kind}){bias} * {power(kind, shift)};"


def pooling(program: IntegerProgram, operation: Pool, source: str, kind: str) -> Iterator[str]:
    """Yield the loops over channels and places up to the largest value or sum, `sum`, at unit `i`."""
    yield from _places(operation.geometry, operation.geometry.channels)
    if operation.kind == "max":
        yield f"      {kind} sum = {program.format(operation.source).low};"
    else:
        yield f"      {kind} sum = 0;"

    def take(at: str) -> str:
        value = f"{source}[{at}]"
        return f"sum += {value};" if operation.kind == "sum" else f"if ({value} > sum) sum = {value};"

    yield from _under_kernel(operation.geometry, "oc", take, 6)


def _places(g: Geometry, channels: int) -> Iterator[str]:
    high, wide = g.places
    yield f"    for (oc = 0; oc < {channels}; oc++)"
    yield f"      for (oy = 0; oy < {high}; oy++)"
    yield f"        for (ox = 0; ox < {wide}; ox++, i++) {{"


def _under_kernel(g: Geometry, channel: str, body: Callable[[str], str], indent: int) -> Iterator[str]:
    space = " " * indent
    (ph, pw), (sh, sw) = g.padding, g.stride
    yield f"{space}for (ky = 0; ky < {g.kernel[0]}; ky++) {{"
    yield f"{space}  const int row = oy * {sh} + ky - {ph};"
    if ph:
        yield f"{space}  if (row < 0 || row >= {g.height}) continue;"
    yield f"{space}  for (kx = 0; kx < {g.kernel[1]}; kx++) {{"
    yield f"{space}    const int column = ox * {sw} + kx - {pw};"
    if pw:
        yield f"{space}    if (column < 0 || column >= {g.width}) continue;"
    yield f"{space}    {body(f'((size_t)({channel}) * {g.height} + row) * {g.width} + column')}"
    yield f"{space}  }}"
    yield f"{space}}}"
