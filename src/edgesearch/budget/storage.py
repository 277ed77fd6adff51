"""Bit widths, sizes, and the bytes of a matrix: what every closed form is made of."""

from dataclasses import dataclass

from edgesearch.config import QuantConfig
from edgesearch.numerics.format import Format
from edgesearch.numerics.packing import index_bytes, stored_bits


@dataclass(frozen=True)
class Widths:
    """Bits of a stored weight and of an activation, the worst error of an approximated function, bits of a frame.

    A frame has those of an activation where `frame_bits` is None.
    """

    weight_bits: int
    activation_bits: int
    function_error: float = 1e-3
    frame_bits: int | None = None

    @classmethod
    def of(cls, quant: QuantConfig, frame_bits: int) -> "Widths":
        """Return the widths of the integer program, whose frames take so many bits."""
        return cls(quant.weight_bits, quant.activation_bits, quant.function_error, frame_bits)

    @property
    def frame_bytes(self) -> int:
        """Bytes of a value of a frame, raw or scaled."""
        bits = stored_bits(Format(self.frame_bits or self.activation_bits, 0))
        return max(1, bits // 8)

    @property
    def scaling_bytes(self) -> int:
        """Bytes of a constant by which frames are scaled: 16 bits, or those of a wider frame."""
        return max(2, self.frame_bytes)

    @property
    def label(self) -> str:
        """Name for tables."""
        return "float32" if self == FLOAT32 else f"{self.weight_bits}-bit"


FLOAT32 = Widths(32, 32)
SCALING = 2  # constants for each value of a frame: scale and offset


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
