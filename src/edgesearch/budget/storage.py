"""Bit widths, sizes, and the bytes of a matrix: what every closed form is made of."""

from dataclasses import dataclass

from edgesearch.config import QuantConfig
from edgesearch.numerics.format import Format
from edgesearch.numerics.packing import index_bytes, stored_bits


@dataclass(frozen=True)
class Widths:
    """Bits of a stored weight and of an activation, and the worst error of an approximated function."""

    weight_bits: int
    activation_bits: int
    function_error: float = 1e-3

    @classmethod
    def of(cls, quant: QuantConfig) -> "Widths":
        """Return the widths of the integer program."""
        return cls(quant.weight_bits, quant.activation_bits, quant.function_error)

    @property
    def label(self) -> str:
        """Name for tables."""
        return "float32" if self == FLOAT32 else f"{self.weight_bits}-bit"


FLOAT32 = Widths(32, 32)


@dataclass(frozen=True)
class Size:
    """Bytes of flash (constants only) and RAM, multiply-accumulates of one inference."""

    flash_bytes: int
    ram_bytes: int
    macs: int


def stored(columns: int, rows: int, nonzeros: int, bits: int) -> int:
    """Bytes of a matrix in its cheapest encoding."""
    stored = bits if bits == 32 else stored_bits(Format(bits, 0))
    values = -(-nonzeros * stored // 8)
    return min(
        -(-rows * columns * stored // 8),
        rows * -(-columns // 8) + values,
        (rows + nonzeros) * index_bytes(columns) + values,
    )
