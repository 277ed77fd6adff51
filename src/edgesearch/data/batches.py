"""Training rows in memory, handed out an epoch at a time: shuffled, augmented, normalised, cut into (T, B, D) batches.

All of an epoch's randomness comes from (seed, epoch), so that a resumed run sees the batches it would have seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

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
        self._background = dataset.background
        self._batch_size, self._seed, self._augmentation = batch_size, seed, augmentation
        if augmentation is None:
            self._x = ((self._x - self._mean) / self._std).float()

    def __len__(self) -> int:
        return -(-len(self._y) // self._batch_size)

    def epoch(self, index: int) -> Iterator[Batch]:
        """Yield the batches of epoch `index`: x (T, B, D) normalised float32, y (B,) int64."""
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + index) % 2**63)
        order = torch.randperm(len(self._y), generator=generator)
        for rows in torch.split(order, self._batch_size):
            x = self._x[rows]
            if self._augmentation is not None:
                x = self._augment(x, self._augmentation, generator)
            yield x.transpose(0, 1), self._y[rows]

    def _augment(self, x: Tensor, by: Augmentation, generator: torch.Generator) -> Tensor:
        x = shift(x, by.steps, by.features, self._background, generator)
        x = ((x - self._mean) / self._std).float()
        if by.noise:
            x = x + by.noise * torch.randn(x.shape, generator=generator)
        return x


def shift(x: Tensor, steps: int, features: int, background: float | None, generator: torch.Generator) -> Tensor:
    """Move each sequence of x (B, T, D) by its own random offset of up to +-steps frames and +-features features.

    Uncovered places take the background value, or the nearest edge where it is None.
    """
    for dim, most in ((1, steps), (2, features)):
        if not most:
            continue
        extent = x.size(dim)
        offsets = torch.randint(-most, most + 1, (x.size(0), 1), generator=generator)
        source = torch.arange(extent) - offsets
        inside = source.clamp(0, extent - 1)
        view = (x.size(0), extent, 1) if dim == 1 else (x.size(0), 1, extent)
        moved = x.gather(dim, inside.view(view).expand_as(x))
        x = moved if background is None else torch.where((source == inside).view(view), moved, background)
    return x


def tensors(dataset: Dataset, split: Split) -> Batch:
    """Return all rows of a split, normalised: x (T, N, D) and y (N,)."""
    x = ((torch.from_numpy(split.x) - torch.from_numpy(dataset.mean)) / torch.from_numpy(dataset.std)).float()
    return x.transpose(0, 1).contiguous(), torch.from_numpy(split.y)
