"""Packed constants: read back bit by bit, and counted against what the C export really writes."""

import re

import numpy as np
import pytest

from edgesearch.export.c import files
from edgesearch.numerics.format import Format, Ints
from edgesearch.numerics.operations import Affine
from edgesearch.numerics.packing import (
    ENCODINGS,
    Encoding,
    best_encoding,
    bitmap,
    index_bytes,
    matrix_bytes,
    packed,
    stored_bits,
    value_bytes,
)
from edgesearch.numerics.program import Constant, IntegerProgram, Value

C_BYTES = {"uint8_t": 1, "int8_t": 1, "uint16_t": 2, "int16_t": 2, "int32_t": 4}


def unpacked(data: bytes, count: int, bits: int, signed: bool) -> list[int]:
    """Integers from a little-endian stream of bits, lowest first."""
    stream = int.from_bytes(data, "little")
    values = [stream >> (k * bits) & (2**bits - 1) for k in range(count)]
    return [v - 2**bits if signed and v >> (bits - 1) else v for v in values]


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 8, 97])
def test_values_come_back_from_their_bytes(bits: int, signed: bool, count: int) -> None:
    format = Format(bits, 0, signed)
    values = np.random.default_rng(count).integers(format.low, format.high + 1, count)
    data = packed(values, format)
    assert len(data) == value_bytes(count, format) == -(-count * bits // 8)
    assert unpacked(data, count, bits, signed) == values.tolist()


@pytest.mark.parametrize(
    ("bits", "stored"),
    [(1, 2), (2, 2), (3, 4), (4, 4), (5, 8), (7, 8), (8, 8), (9, 16), (12, 16), (16, 16), (17, 32), (32, 32)],
)
def test_other_widths_take_the_next_one(bits: int, stored: int) -> None:
    format = Format(bits, 0)
    assert stored_bits(format) == stored
    values = np.array([format.low, format.high, 0])
    assert unpacked(packed(values, format), 3, stored, True) == values.tolist()


def test_bytes_by_hand() -> None:
    assert packed(np.array([1, -1, 7, -8, 3]), Format(4, 0)) == bytes([0xF1, 0x87, 0x03])
    assert packed(np.array([1, -1, -2, 0, 1]), Format(2, 0)) == bytes([0b00101101, 0b01])
    assert packed(np.array([-2, 258]), Format(16, 0)) == bytes([0xFE, 0xFF, 0x02, 0x01])


@pytest.mark.parametrize("shape", [(1, 1), (3, 8), (5, 9), (2, 300)], ids=str)
def test_a_bitmap_holds_a_bit_an_entry(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(2).integers(-1, 2, shape)
    rows, columns = shape
    data, width = bitmap(matrix), -(-columns // 8)
    assert len(data) == rows * width
    flags = [[data[r * width + c // 8] >> (c % 8) & 1 for c in range(columns)] for r in range(rows)]
    assert flags == (matrix != 0).astype(int).tolist()


def test_counts_and_columns_fit_their_bytes() -> None:
    for columns in (1, 100, 255, 256, 257, 1000):
        assert max(columns, columns - 1) < 256 ** index_bytes(columns)
    assert index_bytes(255) == 1


def drawn(shape: tuple[int, int], density: float, format: Format) -> Ints:
    rng = np.random.default_rng(3)
    values = rng.integers(format.low, format.high + 1, shape)
    return np.where(rng.random(shape) < density, np.where(values == 0, format.low, values), 0)


def exported_bytes(matrix: Ints, format: Format, encoding: Encoding) -> int:
    """Bytes of the arrays that model.c has for the matrix, from their C types and their elements."""
    constant = Constant(matrix, format)
    constant.__dict__["encoding"] = encoding
    rows, columns = matrix.shape
    program = IntegerProgram(
        1, {"input": Value(columns, Format(8, 4)), "y": Value(rows, Format(16, 8))}, {"M": constant}, {},
        {}, (), (Affine("y", (("M", "window"),)),), "y",
    )  # fmt: skip
    text = files(program)["model.c"]
    arrays = re.findall(r"static MODEL_ROM (\w+) model_M_\w*\[\] MODEL_PLACE = \{\n(.*?)\};", text, re.DOTALL)
    assert arrays
    return sum(C_BYTES[kind] * len(re.findall(r"-?\d+", numbers)) for kind, numbers in arrays)


@pytest.mark.parametrize("shape", [(1, 1), (7, 33), (4, 8), (3, 255), (3, 256), (2, 300)], ids=str)
@pytest.mark.parametrize("density", [1.0, 0.4, 0.05])
@pytest.mark.parametrize("bits", [2, 4, 8, 16, 32])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_matrix_is_counted_as_exported(shape: tuple[int, int], density: float, bits: int, encoding: Encoding) -> None:
    format = Format(bits, 3)
    matrix = drawn(shape, density, format)
    matrix[0, -1] = 1
    assert matrix_bytes(matrix, format, encoding) == exported_bytes(matrix, format, encoding)


@pytest.mark.parametrize(("density", "bits", "encoding"), [(1.0, 8, "dense"), (0.4, 8, "bitmap"), (0.03, 8, "index")])
def test_the_smallest_encoding_is_chosen(density: float, bits: int, encoding: Encoding) -> None:
    format = Format(bits, 0)
    matrix = drawn((40, 64), density, format)
    sizes = {e: matrix_bytes(matrix, format, e) for e in ENCODINGS}
    assert best_encoding(matrix, format) == encoding
    assert sizes[encoding] == min(sizes.values()) == Constant(matrix, format).flash_bytes


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_by_hand(bits: int) -> None:
    matrix = np.zeros((3, 10), np.int64)
    matrix[0, 1] = matrix[2, 9] = matrix[2, 0] = 1
    assert matrix_bytes(matrix, Format(bits, 0), "dense") == -(-30 * bits // 8)
    assert matrix_bytes(matrix, Format(bits, 0), "bitmap") == 3 * 2 + -(-3 * bits // 8)
    assert matrix_bytes(matrix, Format(bits, 0), "index") == 3 + 3 + -(-3 * bits // 8)
