"""Widths lowered greedily: how far, in what order, and what is written."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from edgesearch.compress.quantizer import Quantizer
from edgesearch.errors import ConfigError


class Sums(nn.Module):
    """Tells whether a sequence's sum is positive; its two features matter differently."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lstm, self.head = nn.LSTM(2, 6), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.lstm(x)[0][-1])
        return logits


@pytest.fixture(scope="module")
def trained() -> tuple[Sums, torch.Tensor, torch.Tensor]:
    model, x = Sums(), torch.randn(8, 400, 2)
    y = (x.sum(dim=(0, 2)) > 0).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model, x, y


def test_accuracy_stays_within_the_loss_and_bytes_fall(
    trained: tuple[Sums, torch.Tensor, torch.Tensor], tmp_path: Path
) -> None:
    model, x, y = trained
    flash = []
    for loss in (0.0, 0.02, 0.6):
        quantizer = Quantizer(model, bits="mixed")
        quantizer.model(x)
        found = quantizer.lower(x, y, loss)
        assert found.end[0] >= found.start[0] - loss
        measured = float((quantizer.program.run(x.numpy()).answers == y.numpy()).mean())
        assert (measured, quantizer.program.flash_bytes) == found.end
        flash.append(found.end[1])
    assert flash[0] >= flash[1] > flash[2]
    assert set(found.widths.named.values()) <= {2, 4, 8, 16}
    assert {bits for name, bits in found.widths.named.items() if name in found.groups} == {2}
    quantizer.save(tmp_path)
    written = OmegaConf.load(tmp_path / "quantization.yaml")
    assert written.bits.FC == 2
    assert written.accuracy_at.FC[8] == found.start[0]
    assert "FC: 8 bits" in str(found)
    again = Quantizer(model, mode="test", load=tmp_path)
    assert again.program.flash_bytes == flash[2]


def test_widths_that_are_given_are_not_lowered(trained: tuple[Sums, torch.Tensor, torch.Tensor]) -> None:
    model, x, y = trained
    quantizer = Quantizer(model, bits=8)
    quantizer.model(x)
    with pytest.raises(ConfigError, match="bits=mixed"):
        quantizer.lower(x, y)
