"""Training rows in memory, handed out an epoch at a time: shuffled, augmented, normalised, cut into (T, B, D) batches.

All of an epoch's randomness comes from (seed, epoch), so that a resumed run sees the batches it would have seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from edgesearch.data.dataset import Dataset, Split

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training sequence.

    Attributes:
        steps: largest shift in time, in frames.
        features: largest shift along the features (pixels of an image row).
        noise: standard deviation of added white noise, in units of each feature's standard deviation.
    """

    steps: int = 0
    features: int = 0
    noise: float = 0.0


class Batches:
    """Batches over the training rows of a data set.

    Args:
        dataset: its training rows, normalisation and background are used.
        batch_size: rows of a batch; the last one of an epoch may be smaller.
        seed: decides order and augmentation together with the epoch.
        augmentation: None for none.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int,
        augmentation: Augmentation | None = None,
    ) -> None:
        self._x, self._y = torch.from_numpy(dataset.train.x), torch.from_numpy(dataset.train.y)
        self._mean, self._std = torch.from_numpy(dataset.mean), torch.from_numpy(dataset.std)
        self._batch_size, self._seed, self._augmentation = batch_size, seed, augmentation
        self._shifts: Shifts | None = None
        if augmentation is not None:
            steps, features = augmentation.steps, augmentation.features
            self._shifts = Shifts(self._x, steps, features, dataset.background)
        else:
            self._x = ((self._x - self._mean) / self._std).float()

    def __len__(self) -> int:
        return -(-len(self._y) // self._batch_size)

    def epoch(self, index: int) -> Iterator[Batch]:
        """Yield the batches of epoch `index`: x (T, B, D) normalised float32, y (B,) int64."""
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + index) % 2**63)
        order = torch.randperm(len(self._y), generator=generator)
        for rows in torch.split(order, self._batch_size):
            yield self._taken(rows, generator).transpose(0, 1), self._y[rows]

    def _taken(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The rows (B, T, D), augmented where that is wanted, normalised."""
        if self._shifts is None or self._augmentation is None:
            return self._x[rows]
        x = ((self._shifts(rows, generator) - self._mean) / self._std).float()
        if self._augmentation.noise:
            x = x + self._augmentation.noise * torch.randn(x.shape, generator=generator)
        return x


class Shifts:
    """Moves each sequence of x (N, T, D) by its own random offset of up to +-steps frames and +-features features.

    Uncovered places take the background value, or the nearest edge where it is None. Every offset is a view of rows
    that are padded once.
    """

    def __init__(self, x: Tensor, steps: int, features: int, background: float | None) -> None:
        mode, value = ("constant", background) if background is not None else ("replicate", None)
        margins = (features, features, steps, steps)
        padded = pad(x.unsqueeze(1), margins, mode, value).squeeze(1) if steps or features else x
        self._views = padded.unfold(1, x.size(1), 1).unfold(2, x.size(2), 1)
        self._most = steps, features

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return the sequences of `rows` (B,), moved: (B, T, D)."""
        starts = [
            most - torch.randint(-most, most + 1, (len(rows), 1), generator=generator)[:, 0] if most else 0
            for most in self._most
        ]
        moved: Tensor = self._views[rows, starts[0], starts[1]]
        return moved


def tensors(dataset: Dataset, split: Split) -> Batch:
    """Return all rows of a split, normalised: x (T, N, D) and y (N,)."""
    x = ((torch.from_numpy(split.x) - torch.from_numpy(dataset.mean)) / torch.from_numpy(dataset.std)).float()
    return x.transpose(0, 1).contiguous(), torch.from_numpy(split.y)
