"""Training in integers: what it measures is what it ships, and it learns as floats do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgesearch.cells.classifier import build_classifier
from edgesearch.data import load_dataset
from edgesearch.data.batches import tensors
from edgesearch.errors import ConfigError
from edgesearch.numerics.rounding import KINDS
from edgesearch.pipeline.program import compile_classifier, outcome
from edgesearch.training.fit import Fitted, fit
from edgesearch.training.fixed import FixedClassifier
from tests.conftest import composed
from tests.training.test_fit import spec_of

DATASET = load_dataset(composed().data)


def trained(folder: Path, *overrides: str) -> tuple[Fitted, Any]:
    config = composed("cell.hidden_size=12", "train.batch_size=64", *overrides)
    return fit(config, DATASET, spec_of(config), folder / "last.ckpt", lambda row: None), config


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("cell", ["lstm", "fastgrnn", "gru", "ugrnn", "fastrnn"])
def test_the_accuracy_of_training_is_that_of_the_program(tmp_path: Path, cell: str, bits: int) -> None:
    widths = f"quant.weight_bits={bits}"
    fitted, config = trained(tmp_path, f"cell={cell}", "train.arithmetic=fixed", "train.epochs=3", widths)
    model = build_classifier(spec_of(config), "eager")
    model.load_state_dict(fitted.state_dict)
    program = compile_classifier(config, DATASET, model, fitted.formats).program
    accuracy = float((outcome(program, DATASET.validation).answers == DATASET.validation.y).mean())
    assert accuracy == pytest.approx(fitted.history[fitted.epoch]["val_accuracy"], abs=1e-6)


@pytest.mark.parametrize("rounding", KINDS)
@pytest.mark.parametrize("cell", ["lstm", "fastgrnn", "fastrnn"])
def test_it_learns_as_its_float_twin_does(tmp_path: Path, cell: str, rounding: str) -> None:
    settings = (f"cell={cell}", "train.epochs=12", "quant.weight_bits=16", "cell.wRank=4", "cell.uRank=6")
    twin, _ = trained(tmp_path / "float", *settings)
    fitted, _ = trained(tmp_path / "fixed", *settings, "train.arithmetic=fixed", f"train.rounding={rounding}")
    losses = [[float(row["val_loss"]) for row in f.history] for f in (twin, fitted)]
    assert losses[0][0] == pytest.approx(losses[1][0], rel=0.1)
    assert losses[0][-1] == pytest.approx(losses[1][-1], rel=0.2)
    assert (fitted.overflows or {}).keys() <= {"x"}  # digits has pixels that are hardly ever on


@pytest.mark.parametrize("cell", ["lstm", "fastgrnn", "fastrnn"])
@pytest.mark.parametrize("rows", [1, 2, 64])
def test_a_step_takes_the_gradient_of_its_float_twin(cell: str, rows: int) -> None:
    """Every parameter, the scalars behind a sigmoid too, and batches shorter than the others."""
    config = composed(f"cell={cell}", "cell.hidden_size=6", "train.arithmetic=fixed", "quant.weight_bits=16")
    torch.manual_seed(0)
    model = build_classifier(spec_of(config), "eager")
    twin = build_classifier(spec_of(config), "eager").double()
    module = FixedClassifier(model.double(), DATASET, config, steps_per_epoch=1, steps_per_chunk=1)
    twin.load_state_dict(model.state_dict())
    x, y = tensors(DATASET, DATASET.train)
    x, y = x[:, :rows].double().clamp(-15, 15), y[:rows]
    found = module.gradient(x, y)[1]
    torch.nn.functional.cross_entropy(twin(x), y).backward()
    wanted = torch.cat([p.grad.reshape(-1) for p in twin.parameters() if p.grad is not None]).numpy()
    assert np.abs(found.numbers - wanted).max() < 1e-2 * np.abs(wanted).max()
    assert np.abs(found.numbers - wanted).mean() < 1e-3 * np.abs(wanted).max()
    assert not module.overflows


def test_the_input_has_room_for_noise_and_counts_what_it_cuts(tmp_path: Path) -> None:
    noisy = ("cell=lstm", "train.arithmetic=fixed", "train.epochs=2", "data.augment=true", "data.noise=0.3")
    fitted, _ = trained(tmp_path, *noisy)
    inputs = 2 * len(DATASET.train) * DATASET.steps * DATASET.input_size
    assert (fitted.overflows or {}).get("input", 0) < 1e-3 * inputs


def test_inputs_beyond_the_format_are_counted_in_training_alone() -> None:
    config = composed("cell=lstm", "cell.hidden_size=6", "train.arithmetic=fixed")
    module = FixedClassifier(
        build_classifier(spec_of(config)).double(), DATASET, config, steps_per_epoch=1, steps_per_chunk=1
    )
    x, y = tensors(DATASET, DATASET.train)
    far = x[:, :3].double()
    far[0, 0, 3] = 1e4
    module.eval().logits(far)
    assert "input" not in module.overflows
    module.train().gradient(far, y[:3])
    assert module.overflows["input"] == 1


def test_the_mean_squared_error_is_learned_too(tmp_path: Path) -> None:
    settings = ("cell=lstm", "train.epochs=12", "quant.weight_bits=16", "train.loss=mse")
    twin, _ = trained(tmp_path / "float", *settings)
    fitted, _ = trained(tmp_path / "fixed", *settings, "train.arithmetic=fixed")
    assert fitted.history[-1]["val_loss"] == pytest.approx(twin.history[-1]["val_loss"], rel=0.2)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("cell=lenet5",), "is for recurrent cells, got cell=lenet5; set cell=lstm"),
        (("cell.bidirectional=true",), "is for one direction, got cell.bidirectional=true"),
        (("cell.num_layers=2", "cell.dropout=0.1"), "is for layers without dropout, got 0.1"),
        (("train.weight_decay=0.1",), "is for weights without decay, got 0.1"),
        (("schedule.quantize_from=0.5",), "is for the program's numbers from the start, got quantize_from=0.5"),
        (("quant.activation_bits=8",), "is for at least 12 bits of activations, got 8"),
        (("train.lr=2",), "is for learning rates up to 1, got 2"),
        (("train.clip_norm=1e-8",), "is for clipping between 0.0001 and 10000, got 1e-08"),
        (("train.device=cuda",), "is for the CPU, got train.device=cuda"),
    ],
    ids=lambda o: o[0] if isinstance(o, tuple) else "",
)
def test_what_has_no_integer_training_is_refused(overrides: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=f"train.arithmetic=fixed {words}"):
        composed("train.arithmetic=fixed", *overrides)


def test_rounding_belongs_to_fixed_point() -> None:
    with pytest.raises(ConfigError, match=r"train\.rounding belongs to fixed point, got pseudo in floats"):
        composed("train.rounding=pseudo")
