"""The user's own arrays, good and bad."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesearch.data import load_dataset, source_digest
from edgesearch.errors import ConfigError, DataError
from tests.conftest import composed

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4, 3)).astype(np.float32)
Y = np.tile(np.arange(3), 20)


def edgeml_layout(folder: Path, x: Any = X, y: Any = Y) -> None:
    for name in ("train", "test"):
        np.save(
            folder / f"{name}.npy", np.concatenate((np.asarray(y)[:, None], np.asarray(x).reshape(len(x), -1)), axis=1)
        )


def config_for(path: Path, *more: str) -> Any:
    return composed("data=npy", f"data.path={path}", *more).data


def test_edgemls_layout(tmp_path: Path) -> None:
    edgeml_layout(tmp_path)
    dataset = load_dataset(config_for(tmp_path, "data.input_size=3"))
    assert np.array_equal(dataset.test.x, X)
    assert np.array_equal(dataset.test.y, Y)
    assert (dataset.steps, dataset.input_size, dataset.classes) == (4, 3, 3)


def test_npz_with_its_own_validation_and_groups(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=X, y_train=Y, x_test=X[:9], y_test=Y[:9], x_val=X[:6], y_val=Y[:6])
    dataset = load_dataset(config_for(path, "data.validation=null"))
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (60, 6, 9)
    with pytest.raises(ConfigError, match=r"data\.validation must be null"):
        load_dataset(config_for(path))
    np.savez(path, x_train=X, y_train=Y, x_test=X, y_test=Y, group_train=np.arange(60) // 6)
    dataset = load_dataset(config_for(path))
    assert dataset.train.groups is not None
    assert dataset.validation.groups is not None
    assert not set(dataset.train.groups) & set(dataset.validation.groups)
    assert load_dataset(config_for(path, "data.validation_by=row")).train.groups is None


def test_tiny_values_are_scaled_like_any_others(tmp_path: Path) -> None:
    edgeml_layout(tmp_path, X * 1e-8)
    dataset = load_dataset(config_for(tmp_path, "data.input_size=3"))
    scaled = (dataset.train.x - dataset.mean) / dataset.std
    assert abs(float(scaled.std()) - 1) < 0.01


def test_shifts_beyond_the_sequence_are_refused(tmp_path: Path) -> None:
    edgeml_layout(tmp_path)
    with pytest.raises(ConfigError, match=r"data\.shift_steps must be less than the data's 4 steps, got 4"):
        load_dataset(config_for(tmp_path, "data.input_size=3", "data.augment=true", "data.shift_steps=4"))


def test_changed_files_are_another_run(tmp_path: Path) -> None:
    edgeml_layout(tmp_path)
    before = source_digest(config_for(tmp_path))
    edgeml_layout(tmp_path, X + 1)
    assert source_digest(config_for(tmp_path)) != before
    assert source_digest(composed().data) is None


def with_value(array: Any, index: Any, value: Any) -> Any:
    changed = np.array(array, dtype=np.float64)
    changed[index] = value
    return changed


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (with_value(X, (7, 0, 0), np.nan), Y, "NaN or infinity in row 7"),
        (with_value(X, (3, 1, 2), np.inf), Y, "NaN or infinity in row 3"),
        (X, np.where(Y == 1, 3, Y), "got none of 1"),
        (X, Y + 1, "got none of 0"),
        (X, Y - 1, "labels must lie in"),
        (X, with_value(Y, 5, 1.5), "got 1.5 in row 5"),
        (X, with_value(Y, 5, np.nan), "got nan in row 5"),
        (X, np.zeros(60), "at least two classes"),
    ],
    ids=["nan", "inf", "gap", "from-one", "negative", "fraction", "nan-label", "one-class"],
)
def test_values_that_cannot_be_trained_on(tmp_path: Path, x: Any, y: Any, words: str) -> None:
    edgeml_layout(tmp_path, x, y)
    with pytest.raises(DataError, match=words) as caught:
        load_dataset(config_for(tmp_path, "data.input_size=3"))
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    config = config_for(tmp_path, "data.input_size=3")
    with pytest.raises(DataError, match=r"train\.npy must exist"):
        load_dataset(config)
    with pytest.raises(DataError, match=r"train\.npy must exist"):
        source_digest(config)
    edgeml_layout(tmp_path)
    with pytest.raises(DataError, match=r"multiple of data.input_size=5"):
        load_dataset(config_for(tmp_path, "data.input_size=5"))
    with pytest.raises(ConfigError, match=r"set data.input_size=D"):
        load_dataset(config_for(tmp_path))
    whole = (tmp_path / "train.npy").read_bytes()
    (tmp_path / "train.npy").write_bytes(whole[:-40])
    with pytest.raises(DataError, match="truncated or damaged"):
        load_dataset(config)
    np.save(tmp_path / "train.npy", np.array([[1, [2, 3]], [0, [1]]], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="need pickle"):
        load_dataset(config)
    np.save(tmp_path / "train.npy", np.array([["a", "b", "c", "d"]]))
    with pytest.raises(DataError, match="must hold real numbers"):
        load_dataset(config)
    with pytest.raises(ConfigError, match=r"set data.path=FOLDER"):
        load_dataset(composed("data=npy").data)


def test_npz_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=X, y_train=Y)
    with pytest.raises(DataError, match="got no x_test"):
        load_dataset(config_for(path))
    np.savez(path, x_train=X[:, :, 0], y_train=Y, x_test=X, y_test=Y)
    with pytest.raises(DataError, match=r"must be \(examples, steps, features\)"):
        load_dataset(config_for(path))
    np.savez(path, x_train=X, y_train=Y[:-1], x_test=X, y_test=Y)
    with pytest.raises(DataError, match="one label a row"):
        load_dataset(config_for(path))
    np.savez(path, x_train=X, y_train=Y, x_test=X[:, :3], y_test=Y)
    with pytest.raises(DataError, match="the same steps and features"):
        load_dataset(config_for(path))
    own = "data.validation=null"
    np.savez(path, x_train=X, y_train=Y, x_test=X, y_test=Y, x_val=X[:, :2], y_val=Y)
    with pytest.raises(DataError, match="training and validation data must have the same steps"):
        load_dataset(config_for(path, own))
    np.savez(path, x_train=X, y_train=Y, x_test=X, y_test=Y, x_val=X, y_val=Y + 7)
    with pytest.raises(DataError, match="validation labels must occur"):
        load_dataset(config_for(path, own))
    np.savez(path, x_train=X, y_train=Y, x_test=X, y_test=Y, group_train=np.zeros((60, 2)))
    with pytest.raises(DataError, match="one group a row"):
        load_dataset(config_for(path))
    np.savez(path, x_train=X, y_train=np.where(Y == 2, 3_000_000, Y), x_test=X, y_test=Y)
    with pytest.raises(DataError, match="got 3000000 among 60 rows"):
        load_dataset(config_for(path))
    np.savez(path, x_train=X, y_train=Y, x_test=X, y_test=Y + 1)
    with pytest.raises(DataError, match="test labels must occur"):
        load_dataset(config_for(path))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="truncated or damaged"):
        load_dataset(config_for(path))
    np.savez(path, x_train=np.array([[1], [1, 2]], dtype=object), y_train=Y, x_test=X, y_test=Y, allow_pickle=True)
    with pytest.raises(DataError, match="need pickle"):
        load_dataset(config_for(path))


def test_a_channel_that_32_bits_do_not_keep_is_kept_in_64(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    seconds = X.astype(np.float64) + np.array([0.0, 1.7e9, 0.0])
    np.savez(path, x_train=seconds, y_train=Y, x_test=seconds, y_test=Y)
    dataset = load_dataset(config_for(path))
    assert dataset.train.x.dtype == dataset.test.x.dtype == dataset.mean.dtype == np.float64
    np.testing.assert_allclose(dataset.std, dataset.train.x.std(axis=(0, 1)), rtol=1e-9)
    np.savez(path, x_train=seconds[:, :, ::2], y_train=Y, x_test=seconds[:, :, ::2], y_test=Y)
    assert load_dataset(config_for(path)).train.x.dtype == np.float32


@pytest.mark.parametrize("factor", [1e-36, 1e38])
def test_a_channel_beyond_32_bits_is_named(tmp_path: Path, factor: float) -> None:
    x = X.astype(np.float64) * [1.0, 1.0, factor]
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=Y, x_test=x, y_test=Y)
    with pytest.raises(
        DataError, match=r"channel 2 \(from 0\) must have a deviation of 1e-33 or more .* give it in another unit"
    ):
        load_dataset(config_for(tmp_path / "mine.npz"))


@pytest.mark.parametrize("value", [0.1, 9.81, 101325.3, 1e-30, 0.0, 1e12])
def test_a_constant_channel_changes_nothing(tmp_path: Path, value: float) -> None:
    x = np.concatenate((X, np.full_like(X[:, :, :1], value)), axis=2).astype(np.float64)
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=Y, x_test=x + 0.1, y_test=Y)
    dataset = load_dataset(config_for(tmp_path / "mine.npz"))
    assert dataset.train.x.dtype == np.float32
    assert dataset.std[3] == 1
    assert dataset.mean[3] == np.float32(value)


def test_test_rows_do_not_decide_how_training_rows_are_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(1000.0, 1.0, X.shape)
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=Y, x_test=np.full_like(x[:3], 1000.0123), y_test=Y[:3])
    assert load_dataset(config_for(tmp_path / "mine.npz")).train.x.dtype == np.float32


def test_data_are_read_as_version_0_1_did_where_asked(tmp_path: Path) -> None:
    x = X.astype(np.float64) + np.array([0.0, 1.7e9, 0.0])
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=Y, x_test=x, y_test=Y)
    assert load_dataset(config_for(tmp_path / "mine.npz"), single=True).train.x.dtype == np.float32


@pytest.mark.parametrize("label", [10**12, 10**300, 1000, -(10**12)], ids="{:.0e}".format)
@pytest.mark.parametrize("part", ["train", "test", "val"])
def test_a_label_beyond_every_number_of_classes_is_one_line(tmp_path: Path, label: int, part: str) -> None:
    path, y = tmp_path / "mine.npz", Y.astype(np.float64)
    y[3] = label
    arrays: dict[str, Any] = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y, "x_val": X, "y_val": Y} | {
        f"y_{part}": y
    }
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=r"at most 1000 classes, got -?1(0+|e\+\d+) among 60 rows, in row 3; number"):
        load_dataset(config_for(path, "data.validation=null"))


def test_few_test_rows_may_have_large_labels(tmp_path: Path) -> None:
    y = np.arange(60) % 20
    np.savez(tmp_path / "mine.npz", x_train=X, y_train=y, x_test=X[:2], y_test=np.array([19, 18]))
    assert load_dataset(config_for(tmp_path / "mine.npz")).test.y.tolist() == [19, 18]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("part", ["train", "test", "val"])
@pytest.mark.parametrize("shape", [(0, 4, 3), (60, 0, 3), (60, 4, 0), (0, 0, 0), (0,), ()])
def test_an_empty_split_in_64_bits_is_one_line(tmp_path: Path, part: str, shape: tuple[int, ...]) -> None:
    path = tmp_path / "mine.npz"
    arrays: dict[str, Any] = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y, "x_val": X, "y_val": Y}
    rows = shape[0] if shape else 0
    arrays |= {f"x_{part}": np.zeros(shape, np.float64), f"y_{part}": Y[:rows]}
    np.savez(path, **arrays)
    config = config_for(path, "data.validation=null")
    with pytest.raises(DataError, match=r"must be \(examples, steps, features\)|the same steps"):
        load_dataset(config)


def test_an_empty_folder_of_64_bit_rows_is_one_line(tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", np.zeros((0, 7)))
    np.save(tmp_path / "test.npy", np.zeros((0, 7)))
    with pytest.raises(DataError, match=r"must be \(examples, steps, features\) with none of them 0, got \(0, 2, 3\)"):
        load_dataset(config_for(tmp_path, "data.input_size=3"))


@pytest.mark.parametrize("factor", [1e-300, 1e300])
def test_values_whose_squares_no_double_has_are_named(tmp_path: Path, factor: float) -> None:
    x = np.random.default_rng(0).normal(size=(60, 4, 3)) * factor
    y = np.arange(60) % 3
    np.savez(tmp_path / "x.npz", x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])
    with pytest.raises(DataError, match=r"channel 0 \(from 0\) must have a deviation of 1e-33 or more"):
        load_dataset(composed("data=npy", f"data.path={tmp_path / 'x.npz'}").data)
