"""Epochs of batches: complete, reproducible, augmented as promised."""

import numpy as np
import pytest
import torch

from edgesearch.data import load_dataset
from edgesearch.data.batches import Augmentation, Batches, Shifts, tensors
from tests.conftest import composed

DATASET = load_dataset(composed().data)


def test_an_epoch_has_every_row_once() -> None:
    batches = Batches(DATASET, batch_size=100, seed=0)
    parts = list(batches.epoch(0))
    assert len(parts) == len(batches)
    assert [x.shape[1] for x, _ in parts[:-1]] == [100] * (len(parts) - 1)
    x = torch.cat([x for x, _ in parts], dim=1)
    y = torch.cat([y for _, y in parts])
    assert x.shape == (8, len(DATASET.train), 8)
    everything, labels = tensors(DATASET, DATASET.train)
    assert torch.equal(torch.sort(y).values, torch.sort(labels).values)
    ours, theirs = (torch.sort(v.transpose(0, 1).reshape(v.shape[1], -1).sum(dim=1)).values for v in (x, everything))
    torch.testing.assert_close(ours, theirs)


def test_seed_and_epoch_decide_everything() -> None:
    augmentation = Augmentation(1, 1, 0.3)
    first, second, other = (Batches(DATASET, 64, seed, augmentation) for seed in (0, 0, 1))
    assert list(first.epoch(0)) != []
    x = {
        name: next(b.epoch(e))[0]
        for name, b, e in (("a", first, 4), ("b", second, 4), ("c", first, 5), ("d", other, 4))
    }
    assert torch.equal(x["a"], x["b"])
    assert not torch.equal(x["a"], x["c"])
    assert not torch.equal(x["a"], x["d"])


@pytest.mark.parametrize("background", [-1.0, None])
def test_shifts_move_by_whole_places_and_fill(background: float | None) -> None:
    image = torch.arange(1.0, 13.0).view(1, 3, 4)
    x = image.expand(200, 3, 4)
    moved = Shifts(x, 1, 1, background)(torch.arange(200), torch.Generator().manual_seed(0))
    mode = "edge" if background is None else "constant"
    options = {} if background is None else {"constant_values": background}
    padded = np.pad(image[0].numpy(), 1, mode=mode, **options)  # type: ignore[call-overload]
    expected = {padded[a : a + 3, b : b + 4].tobytes() for a in range(3) for b in range(3)}
    assert {row.numpy().tobytes() for row in moved} == expected


def test_noise_has_the_stated_strength() -> None:
    plain, _ = next(Batches(DATASET, 10_000, 0, Augmentation()).epoch(0))
    noisy, _ = next(Batches(DATASET, 10_000, 0, Augmentation(noise=0.25)).epoch(0))
    assert abs(float((noisy - plain).std()) - 0.25) < 0.01
