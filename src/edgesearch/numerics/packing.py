"""How constants lie in flash: widths packed, sparse matrices with their indices. What is counted is what is exported.

Values fill bytes from the low bits on; 16 and 32 bits are arrays of their own type. A sparse matrix is a bitmap (a bit
an entry, row after row, each row starting a byte, then the non-zeros) or an index (of each row its number of non-zeros,
then each one's column, then the values).
"""

from typing import Literal

import numpy as np

from edgesearch.numerics.format import Format, Ints

Encoding = Literal["dense", "bitmap", "index"]
ENCODINGS: tuple[Encoding, ...] = ("dense", "bitmap", "index")


def stored_bits(format: Format) -> int:
    """Return the bits a value takes: 2, 4, 8, 16 or 32."""
    return next(bits for bits in (2, 4, 8, 16, 32) if format.bits <= bits)


def value_bytes(count: int, format: Format) -> int:
    """Return the bytes of `count` packed values."""
    return -(-count * stored_bits(format) // 8)


def index_bytes(columns: int) -> int:
    """Return the bytes of a column number, and of a row's count."""
    return 1 if columns < 2**8 else 2 if columns < 2**16 else 4


def matrix_bytes(matrix: Ints, format: Format, encoding: Encoding) -> int:
    """Return the bytes of a matrix (rows, columns)."""
    rows, columns = matrix.shape
    nonzeros = int(np.count_nonzero(matrix))
    if encoding == "dense":
        return value_bytes(matrix.size, format)
    if encoding == "bitmap":
        return int(rows * -(-columns // 8)) + value_bytes(nonzeros, format)
    return int(rows + nonzeros) * index_bytes(columns) + value_bytes(nonzeros, format)


def best_encoding(matrix: Ints, format: Format) -> Encoding:
    """Return the encoding with the fewest bytes, the simplest of several."""
    return min(ENCODINGS, key=lambda encoding: matrix_bytes(matrix, format, encoding))


def packed(values: Ints, format: Format) -> bytes:
    """Return values as bytes: two's complement, low bits first, little-endian."""
    bits = stored_bits(format)
    flat = values.reshape(-1)
    if bits >= 8:
        return bytes(flat.astype(f"<i{bits // 8}" if format.signed else f"<u{bits // 8}").tobytes())
    per_byte = 8 // bits
    padded = np.zeros(-(-flat.size // per_byte) * per_byte, np.int64)
    padded[: flat.size] = flat & ((1 << bits) - 1)
    shifts = np.arange(per_byte) * bits
    return bytes((padded.reshape(-1, per_byte) << shifts).sum(axis=1).astype(np.uint8).tobytes())


def bitmap(matrix: Ints) -> bytes:
    """Return a bit an entry, low bits first, each row starting a byte."""
    return np.packbits(matrix != 0, axis=1, bitorder="little").tobytes()
