"""USPS: the original rows, and the blurred copy proved against LIBSVM's own file."""

import bz2
import gzip
from pathlib import Path

import numpy as np
import pytest

from edgesearch.data import load_dataset
from edgesearch.data.usps import blur, read_zip
from edgesearch.errors import ConfigError, DataError
from tests.conftest import composed


def test_the_blurred_variant_is_libsvms_copy(data_folder: Path) -> None:
    x, y = read_zip(data_folder / "usps10" / "zip.test.gz")
    with bz2.open(data_folder / "usps10" / "usps.t.bz2", "rt") as file:
        rows = [line.split() for line in file]
    labels = np.array([int(row[0]) for row in rows])
    values = np.array([[float(pair.split(":")[1]) for pair in row[1:]] for row in rows])
    assert np.array_equal(labels, y + 1)
    assert np.abs(values - blur(x).reshape(2007, 256)).max() < 1e-6


def test_the_splits_have_their_published_sizes(data_folder: Path) -> None:
    dataset = load_dataset(composed("data=usps10").data)
    counts = np.bincount(dataset.train.y) + np.bincount(dataset.validation.y)
    assert counts.tolist() == [1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644]
    assert np.bincount(dataset.test.y).tolist() == [359, 264, 198, 166, 200, 160, 170, 147, 166, 177]
    assert (dataset.steps, dataset.input_size, dataset.classes) == (16, 16, 10)


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data.variant must be one of esl, libsvm .*set data.variant=esl"):
        load_dataset(composed("data=usps10", "data.variant=mnist").data)


@pytest.mark.parametrize("damage", ["truncated", "ragged", "columns", "text"])
def test_damaged_files_are_errors(tmp_path: Path, damage: str) -> None:
    row = " ".join(["3.0000", *["-1.0"] * 256])
    path = tmp_path / "zip.gz"
    content = gzip.compress(f"{row}\n{row}\n".encode() * 50)
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "ragged":
        content = gzip.compress(f"{row}\n{row} 1.0\n".encode())
    elif damage == "columns":
        content = gzip.compress(b"1 2 3\n")
    elif damage == "text":
        content = gzip.compress(b"not a number\n")
    path.write_bytes(content)
    with pytest.raises(DataError, match=str(path)):
        read_zip(path)
