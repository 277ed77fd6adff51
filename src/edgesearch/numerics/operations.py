"""The operations of an integer program, on named vectors. What each computes follows from the formats of its operands.

Exact sums in wide integers, then one rounding, then saturation: the same in the interpreter, in fake quantisation and
in C. `Affine` and `Combine` align their terms to the finest of their fractions before they add.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Affine:
    """out = sum of matrix @ vector over `products`, + bias. A matrix is (size of out, size of vector)."""

    out: str
    products: tuple[tuple[str, str], ...]
    bias: str | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """Every operand."""
        pairs = tuple(name for pair in self.products for name in pair)
        return pairs if self.bias is None else (*pairs, self.bias)


@dataclass(frozen=True)
class Term:
    """A product of up to two operands times +-2 ** power; without operands, that number itself.

    An operand of size 1 goes with every unit, and one whose size divides the result's goes round.
    """

    operands: tuple[str, ...] = ()
    negative: bool = False
    power: int = 0


@dataclass(frozen=True)
class Combine:
    """out = sum of terms, unit by unit, held between `low` and `high` (numbers) where they are given."""

    out: str
    terms: tuple[Term, ...]
    low: float | None = None
    high: float | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """Every operand."""
        return tuple(name for term in self.terms for name in term.operands)


@dataclass(frozen=True)
class Apply:
    """out = function(source), unit by unit; the program holds the table of `out`."""

    out: str
    source: str
    function: str

    @property
    def reads(self) -> tuple[str, ...]:
        """Every operand."""
        return (self.source,)


@dataclass(frozen=True)
class Geometry:
    """A kernel that slides over a map (channels, height, width), stored in that order; pairs are (height, width)."""

    channels: int
    height: int
    width: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)

    @property
    def size(self) -> int:
        """Values of the map."""
        return self.channels * self.height * self.width

    @property
    def places(self) -> tuple[int, int]:
        """Height and width of the result."""
        extents = zip((self.height, self.width), self.kernel, self.stride, self.padding, strict=True)
        high, wide = ((extent + 2 * pad - kernel) // stride + 1 for extent, kernel, stride, pad in extents)
        return high, wide


@dataclass(frozen=True)
class Convolve:
    """out (channels, *places) = weights (channels, channels of source / groups, *kernel) over source, + bias, >= low.

    Padding is zeros.
    """

    out: str
    source: str
    weights: str
    geometry: Geometry
    bias: str | None = None
    groups: int = 1
    low: float | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """Every operand."""
        return (self.source, self.weights) if self.bias is None else (self.source, self.weights, self.bias)


@dataclass(frozen=True)
class Pool:
    """out (channels, *places) = the largest (`max`) or the sum (`sum`) of what lies under the kernel; no padding."""

    out: str
    source: str
    geometry: Geometry
    kind: str

    @property
    def reads(self) -> tuple[str, ...]:
        """Every operand."""
        return (self.source,)


Sum = Affine | Combine | Convolve | Pool
Operation = Sum | Apply


# name: (power of the slope, whether 1/2 is added, low, high)
_LINES: dict[str, tuple[int, bool, float, float | None]] = {
    "relu": (0, False, 0.0, None),
    "quantTanh": (0, False, -1.0, 1.0),
    "quantSigm": (-1, True, 0.0, 1.0),
    "quantSigm4": (-2, True, 0.0, 1.0),
}
PIECEWISE_LINEAR = tuple(_LINES)


def piecewise_linear(out: str, terms: tuple[Term, ...], name: str) -> Combine:
    """Return out = name(sum of terms) in one operation, for a name of `PIECEWISE_LINEAR`."""
    power, half, low, high = _LINES[name]
    scaled = tuple(Term(term.operands, term.negative, term.power + power) for term in terms)
    return Combine(out, (*scaled, Term(power=-1)) if half else scaled, low, high)
