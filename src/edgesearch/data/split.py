"""The validation split, taken from training rows: seeded, stratified by class, whole speakers or subjects together."""

import numpy as np

from edgesearch.data.dataset import Split
from edgesearch.errors import DataError


def split_validation(train: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Return (training, validation) rows of `train`.

    Args:
        train: all training rows.
        share: wanted fraction of rows in the validation split, in (0, 1).
        seed: decides which rows; the same seed always gives the same rows.

    With groups, whole groups move: a random one first, then one by one whichever brings every class nearest to its
    share.
    Rows keep their order.

    Raises:
        DataError: a class would be left without a training or a validation row.
    """
    rng = np.random.default_rng(seed)
    chosen = _by_class(train, share, rng) if train.groups is None else _by_group(train, share, rng)
    rest = ~chosen
    for label in np.unique(train.y):
        of_class = train.y == label
        if not (of_class & chosen).any() or not (of_class & rest).any():
            if train.groups is not None:
                raise DataError(_of_too_few(label, np.unique(train.groups[of_class])))
            raise DataError(
                f"each class needs a training and a validation row, got {int(of_class.sum())} rows of class {label}; "
                "add rows or change data.validation or data.split_seed"
            )
    return train.take(np.flatnonzero(rest)), train.take(np.flatnonzero(chosen))


def _of_too_few(label: int, groups: np.ndarray) -> str:
    """Return what is wrong with a class whose speakers or subjects are all on one side of the split."""
    rule = "each class needs rows on both sides of a validation split by speaker or subject"
    if len(groups) == 1:
        return f"{rule}, got class {label} of {groups[0]} alone; set data.validation_by=row, or add another's rows"
    return (
        f"{rule}, got all {len(groups)} of class {label} on one; set data.split_seed to another number, "
        "data.validation nearer to 0.5, or data.validation_by=row"
    )


def _by_class(train: Split, share: float, rng: np.random.Generator) -> np.ndarray:
    chosen = np.zeros(len(train), dtype=bool)
    for label in np.unique(train.y):
        rows = rng.permutation(np.flatnonzero(train.y == label))
        chosen[rows[: max(1, round(share * len(rows)))]] = True
    return chosen


def _by_group(train: Split, share: float, rng: np.random.Generator) -> np.ndarray:
    assert train.groups is not None
    names, group = np.unique(train.groups, return_inverse=True)
    if len(names) < 2:
        raise DataError("a validation split by speaker or subject needs at least 2 of them, got 1; add rows of another")
    counts = np.zeros((len(names), int(train.y.max()) + 1))
    np.add.at(counts, (group, train.y), 1)
    target = share * counts.sum(axis=0)
    order = rng.permutation(len(names))
    taken = [int(order[0])]
    total = counts[order[0]].copy()
    while len(taken) < len(names) - 1:
        gaps = {g: np.abs(total + counts[g] - target).sum() for g in order if g not in taken}
        best = min(gaps, key=lambda g: gaps[g])
        if gaps[best] >= np.abs(total - target).sum():
            break
        taken.append(int(best))
        total += counts[best]
    return np.isin(group, taken)
