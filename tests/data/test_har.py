"""UCI HAR: the reduced files, the merged classes, and the public archive's layout on a small one made here."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgesearch.data import load_dataset
from edgesearch.errors import DataError
from tests.conftest import composed

SIGNALS = [f"{kind}_{axis}" for kind in ("body_acc", "body_gyro", "total_acc") for axis in "xyz"]


@pytest.mark.parametrize(("variant", "shape", "rows"), [("9ch_subset", (128, 9), 2400), ("totalacc", (64, 3), 7352)])
def test_the_reduced_files(data_folder: Path, variant: str, shape: tuple[int, int], rows: int) -> None:
    six, two = (load_dataset(composed(f"data={name}", f"data.variant={variant}").data) for name in ("har6", "har2"))
    assert (six.steps, six.input_size) == shape
    assert len(six.train) + len(six.validation) == rows
    assert six.subset_of is not None
    assert np.bincount(six.test.y).tolist() == [496, 471, 420, 491, 532, 537]
    assert np.bincount(two.test.y).tolist() == [471 + 491 + 537, 496 + 420 + 532]
    groups = [part.groups for part in (six.train, six.validation, six.test)]
    assert all(g is not None for g in groups)
    train, validation, test = (set(g) for g in groups if g is not None)
    assert not train & validation
    assert not train & test
    assert not validation & test


def archive(nested: bool) -> bytes:
    rng = np.random.default_rng(0)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as file:
        for part, rows in (("train", 24), ("test", 12)):
            root = f"UCI HAR Dataset/{part}"
            labels = np.arange(rows) % 6 + 1
            file.writestr(f"{root}/y_{part}.txt", "".join(f"{label}\n" for label in labels))
            file.writestr(f"{root}/subject_{part}.txt", "".join(f"{1 + k // 6}\n" for k in range(rows)))
            for index, signal in enumerate(SIGNALS):
                values = rng.normal(size=(rows, 128)) + 100 * index
                text = "".join(" ".join(f"{v: .7e}" for v in row) + "\n" for row in values)
                file.writestr(f"{root}/Inertial Signals/{signal}_{part}.txt", text)
    if not nested:
        return inner.getvalue()
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as file:
        file.writestr("UCI HAR Dataset.zip", inner.getvalue())
    return outer.getvalue()


@pytest.mark.parametrize("nested", [False, True])
def test_the_public_archives_layout(tmp_path: Path, nested: bool) -> None:
    path = tmp_path / "human+activity+recognition+using+smartphones.zip"
    path.write_bytes(archive(nested))
    dataset = load_dataset(
        composed("data=har6", "data.variant=full", f"data.path={tmp_path}", "data.validation=0.3").data
    )
    assert (dataset.steps, dataset.input_size, dataset.classes) == (128, 9, 6)
    assert dataset.subset_of is None
    assert np.allclose(dataset.test.x.mean(axis=(0, 1)), 100 * np.arange(9), atol=0.3)
    assert dataset.test.y.tolist() == (np.arange(12) % 6).tolist()


@pytest.mark.parametrize("damage", ["truncated", "incomplete"])
def test_a_damaged_archive_is_an_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "human+activity+recognition+using+smartphones.zip"
    if damage == "truncated":
        path.write_bytes(archive(nested=True)[:-500])
    else:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("UCI HAR Dataset/train/y_train.txt", "1\n")
    with pytest.raises(DataError, match="truncated or damaged"):
        load_dataset(composed("data=har6", "data.variant=full", f"data.path={path}").data)
