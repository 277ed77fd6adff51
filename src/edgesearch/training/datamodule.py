"""The LightningDataModule: data sets in memory, chunks of several training batches, one validation batch."""

from collections.abc import Callable, Iterator
from itertools import islice

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from edgesearch.config import DataConfig
from edgesearch.data.batches import Augmentation, Batch, Batches, tensors
from edgesearch.data.dataset import Dataset

MAX_CHUNK = 64


class Chunks:
    """Iterates over an epoch's batches in lists of up to `size`; which epoch is asked when the iteration starts."""

    def __init__(self, batches: Batches, size: int, current_epoch: Callable[[], int]) -> None:
        self._batches, self._size, self._current_epoch = batches, size, current_epoch

    def __len__(self) -> int:
        return -(-len(self._batches) // self._size)

    def __iter__(self) -> Iterator[list[Batch]]:
        batches = self._batches.epoch(self._current_epoch())
        while chunk := list(islice(batches, self._size)):
            yield chunk


class SequenceData(pl.LightningDataModule):
    """Serves a `Dataset` to the trainer; nothing is copied or converted per step but the rows of the batch."""

    def __init__(self, dataset: Dataset, config: DataConfig, batch_size: int, seed: int) -> None:
        super().__init__()
        augmentation = Augmentation(config.shift_steps, config.shift_features, config.noise) if config.augment else None
        self._batches = Batches(dataset, batch_size, seed, augmentation)
        self._validation = [tensors(dataset, dataset.validation)]
        self.steps_per_epoch = len(self._batches)
        self.steps_per_chunk = min(MAX_CHUNK, self.steps_per_epoch)

    def train_dataloader(self) -> Chunks:
        """Chunks of the current epoch."""
        assert self.trainer is not None
        trainer = self.trainer
        return Chunks(self._batches, self.steps_per_chunk, lambda: trainer.current_epoch)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The whole validation split as one batch."""
        return DataLoader(self._validation, batch_size=None)  # type: ignore[arg-type]
