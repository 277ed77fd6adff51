"""The arrays every other layer works on, and the checks a set must pass before anything is trained on it."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np
import numpy.typing as npt

from edgesearch.data.frames import Frames
from edgesearch.errors import DataError

Floats = npt.NDArray[np.float32]
Values = npt.NDArray[np.float32] | npt.NDArray[np.float64]  # the wider where 32 bits do not keep a channel apart
Ints = npt.NDArray[np.int64]
_SAMPLE = 20_000  # values of which quartiles are taken
_RULED, _FAR = 15.0, 25.0  # (1.5 and about 5 for a normal distribution)
SPREAD = (1e-33, 1e37)  # of a channel, in its unit: least deviation, largest value
_SQUARES = (1e-100, 1e100)
CONSTANT = 1e15  # the largest value of a channel that is always the same


@dataclass(frozen=True)
class Split:
    """Examples x (N, T, D) with labels y (N,) in 0..C-1; `groups` (N,) names each example's speaker or subject."""

    x: Values
    y: Ints
    groups: npt.NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: npt.NDArray[np.intp]) -> "Split":
        """Return the given rows as a new split."""
        return Split(self.x[rows], self.y[rows], None if self.groups is None else self.groups[rows])

    def single(self) -> "Split":
        """Return the same in 32-bit floats."""
        return replace(self, x=self.x.astype(np.float32))


@dataclass(frozen=True)
class RawData:
    """What a reader delivers: training and test rows, a validation split only where the set defines one.

    `background` is the value of empty input, for shifts; None repeats the edge.
    `subset_of` says of what complete set the rows are a part, `front_end` how samples became frames.
    """

    train: Split
    test: Split
    class_names: tuple[str, ...]
    validation: Split | None = None
    background: float | None = None
    subset_of: str | None = None
    front_end: str | None = None

    def single(self) -> "RawData":
        """Return the same in 32-bit floats."""
        validation = None if self.validation is None else self.validation.single()
        return replace(self, train=self.train.single(), test=self.test.single(), validation=validation)


@dataclass(frozen=True)
class Dataset:
    """Checked splits in raw units, with the mean and standard deviation (D,) of the training rows."""

    name: str
    variant: str | None
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    mean: Values
    std: Values
    background: float | None = None
    subset_of: str | None = None
    front_end: str | None = None

    @cached_property
    def frames(self) -> Frames:
        """What there is to see of the training frames."""
        return Frames.of(self.train.x.reshape(-1, self.input_size))

    @property
    def steps(self) -> int:
        """T, frames of a sequence."""
        return int(self.train.x.shape[1])

    @property
    def input_size(self) -> int:
        """D, features of a frame."""
        return int(self.train.x.shape[2])

    @property
    def classes(self) -> int:
        """C, number of classes."""
        return len(self.class_names)


def statistics(x: Values) -> tuple[Values, Values]:
    """Return mean and standard deviation (D,) over rows and steps, in the type of x; a constant feature gets 1.

    They are taken in float64, of the differences to the first frame. Constant is what differs by no more than the
    type's rounding.

    Raises:
        DataError: a channel's values are too small or too large to compute with.
    """
    mean, std = np.empty(x.shape[2]), np.empty(x.shape[2])
    for channel in range(x.shape[2]):
        values = x[:, :, channel].astype(np.float64)
        first = float(values[0, 0])
        values -= first
        mean[channel], std[channel] = first + values.mean(), deviation(values)
        largest = max(abs(first + float(values.min())), abs(first + float(values.max())))
        constant = std[channel] <= 8 * np.finfo(x.dtype).eps * largest
        reach = CONSTANT if constant else SPREAD[1]
        if largest > reach or not (constant or std[channel] >= SPREAD[0]):
            raise DataError(
                f"channel {channel} (from 0) must have a deviation of {SPREAD[0]:g} or more in its unit, or none, and "
                f"values up to {reach:g}, got {largest:.3g} with {std[channel]:.3g}; give it in another unit"
            )
        std[channel] = 1.0 if constant else std[channel]
    return cast(Values, mean.astype(x.dtype)), cast(Values, std.astype(x.dtype))


def deviation(values: npt.NDArray[np.float64]) -> float:
    """Return the standard deviation, of numbers too, whose squares float64 has not."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0 or _SQUARES[0] < largest < _SQUARES[1]:
        return float(values.std())
    return float((values / largest).std()) * largest


def long_tails(x: Values) -> dict[int, tuple[float, float]]:
    """Return the channels of x (N, T, D) that a few values rule: deviation, and what half of the values lie within.

    An error value such as 99999 among hundreds, or counts over orders of magnitude: divided by such a deviation, what
    is common differs by hardly anything.
    """
    found = {}
    for channel in range(x.shape[2]):
        values = x[:, :, channel].astype(np.float64).reshape(-1)
        low, middle, high = np.quantile(values[:: max(1, len(values) // _SAMPLE)], (0.25, 0.5, 0.75))
        within, deviation = float(high - low) / 2, float(values.std())
        far = max(float(values.max()) - middle, middle - float(values.min()))
        if within > 0 and deviation > _RULED * within and far > _FAR * deviation:
            found[channel] = deviation, within
    return found


def check_rows(where: str, split: Split) -> None:
    """Raise `DataError` unless `split` is finite, rectangular and has a label a row."""
    if split.x.ndim != 3 or 0 in split.x.shape:
        raise DataError(
            f"{where} must be (examples, steps, features) with none of them 0, got {split.x.shape}; check the file"
        )
    if split.y.shape != (len(split.x),):
        raise DataError(
            f"{where} must have one label a row, got {split.y.shape} labels for {len(split.x)} rows; check the file"
        )
    if split.groups is not None and split.groups.shape != split.y.shape:
        raise DataError(f"{where} must have one group a row, got {split.groups.shape}; check the file")
    if not np.isfinite(split.x).all():
        row = int(np.flatnonzero(~np.isfinite(split.x).all(axis=(1, 2)))[0])
        raise DataError(f"{where} must hold finite numbers, got NaN or infinity in row {row}; remove or repair the row")


def check_labels(train: Split, others: dict[str, Split], class_names: tuple[str, ...]) -> None:
    """Raise `DataError` unless labels are 0..C-1, all of them in the training rows and none new in the others."""
    present = np.unique(train.y)
    classes = len(class_names)
    if classes < 2:
        raise DataError(f"training needs at least two classes, got {classes}; check the labels")
    if present[0] < 0 or present[-1] >= classes:
        raise DataError(f"labels must lie in 0..{classes - 1}, got {present[0]}..{present[-1]}; renumber the labels")
    missing = np.setdiff1d(np.arange(classes), present)
    if len(missing):
        named = ", ".join(str(label) for label in missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise DataError(
            f"every label from 0 to {classes - 1} must occur in the training rows, got none of {named}; "
            "renumber the labels without gaps or add rows"
        )
    for name, part in others.items():
        unknown = np.setdiff1d(part.y, present)
        if len(unknown):
            raise DataError(
                f"{name} labels must occur in the training rows, got {unknown[0]}; add training rows of that class"
            )
