"""The validation split: seeded, stratified, by group, never overlapping."""

import numpy as np
import pytest

from edgesearch.data import Split, load_dataset
from edgesearch.data.split import split_validation
from edgesearch.errors import ConfigError, DataError
from tests.conftest import composed


def rows(labels: list[int], groups: list[str] | None = None) -> Split:
    x = np.arange(len(labels), dtype=np.float32).reshape(-1, 1, 1)
    return Split(x, np.array(labels, dtype=np.int64), None if groups is None else np.array(groups))


def test_rows_are_shared_out_by_class_and_without_loss() -> None:
    whole = rows([0] * 100 + [1] * 40 + [2] * 10)
    train, validation = split_validation(whole, 0.2, seed=3)
    assert np.bincount(validation.y).tolist() == [20, 8, 2]
    assert sorted([*train.x.ravel(), *validation.x.ravel()]) == list(range(150))
    again = split_validation(whole, 0.2, seed=3)[1]
    assert np.array_equal(validation.x, again.x)
    assert not np.array_equal(validation.x, split_validation(whole, 0.2, seed=4)[1].x)


def test_groups_move_as_a_whole_and_classes_come_near_their_share() -> None:
    rng = np.random.default_rng(0)
    groups = [f"g{g}" for g in range(20) for _ in range(30)]
    whole = rows(rng.integers(0, 4, 600).tolist(), groups)
    train, validation = split_validation(whole, 0.25, seed=1)
    picks = {tuple(sorted(set(split_validation(whole, 0.25, seed)[1].groups.tolist()))) for seed in range(5)}  # type: ignore[union-attr]
    assert len(picks) > 1
    assert train.groups is not None
    assert validation.groups is not None
    assert not set(train.groups) & set(validation.groups)
    shares = np.bincount(validation.y) / np.bincount(whole.y)
    assert np.abs(shares - 0.25).max() < 0.1


@pytest.mark.parametrize(
    ("whole", "words"),
    [
        (rows([0, 0, 1]), "got 1 rows of class 1"),
        (rows([0, 1, 0, 1], ["a"] * 4), "at least 2 of them, got 1"),
        (rows([0, 0, 1, 1], ["a", "a", "b", "b"]), "each class needs"),
    ],
)
def test_a_class_without_rows_on_both_sides_is_an_error(whole: Split, words: str) -> None:
    with pytest.raises(DataError, match=words):
        split_validation(whole, 0.3, seed=0)


def test_digits_are_complete_and_normalised_by_training_rows_alone() -> None:
    dataset = load_dataset(composed().data)
    assert len(dataset.train) + len(dataset.validation) + len(dataset.test) == 1797
    flat = dataset.train.x.reshape(-1, 8).astype(np.float64)
    np.testing.assert_allclose(dataset.mean, flat.mean(axis=0), rtol=1e-6)
    constant = flat.std(axis=0) < 1e-6
    np.testing.assert_allclose(dataset.std[~constant], flat.std(axis=0)[~constant], rtol=1e-6)
    assert (dataset.std[constant] == 1).all()
    keys = [{row.tobytes() for row in part.x} for part in (dataset.train, dataset.validation, dataset.test)]
    assert not keys[0] & keys[1]


def test_the_split_does_not_depend_on_the_training_seed() -> None:
    first, second = (load_dataset(composed(f"seed={seed}").data) for seed in (0, 1))
    assert np.array_equal(first.validation.x, second.validation.x)


def test_a_set_without_a_validation_split_needs_a_share() -> None:
    with pytest.raises(ConfigError, match=r"set data.validation=0.1"):
        load_dataset(composed("data.validation=null").data)


def test_subjects_of_one_class_are_named_with_what_to_do() -> None:
    alone = rows([0, 0, 1, 1, 0, 1], ["ann", "ann", "bob", "bob", "ann", "cem"])
    with pytest.raises(DataError, match=r"got class 0 of ann alone; set data.validation_by=row"):
        split_validation(alone, 0.3, 0)
    pairs = rows([0, 1, 2, 3, 0, 1, 2, 3], list("abcdefgh"))
    with pytest.raises(DataError, match=r"got all 2 of class \d on one; set data.split_seed to another number"):
        split_validation(pairs, 0.01, 0)
