"""Which device trains: the measured rule, at its threshold, and what is refused; what is noted of a training."""

from functools import cache
from pathlib import Path

import pytest
import torch

from edgesearch.cells import fused
from edgesearch.cells.build import BuildError, Library
from edgesearch.cells.classifier import build_classifier, classifier_spec
from edgesearch.errors import ConfigError, EdgesearchWarning
from edgesearch.training.device import Ran, training_device, what_runs
from tests.conftest import composed
from tests.training.test_fit import trained

Patch = pytest.MonkeyPatch


def device(*overrides: str, steps: int = 16, features: int = 16) -> str:
    config = composed("schedule=dense", *overrides)
    spec = classifier_spec(config.cell, config.schedule, steps=steps, input_size=features, classes=10)
    return training_device(config, spec)


@pytest.fixture
def gpu(monkeypatch: Patch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.mark.usefixtures("gpu")
class TestWithAGPU:
    def test_auto_takes_the_cpu_for_what_was_measured_to_be_slower_on_a_gpu(self) -> None:
        assert device("train.device=auto", "cell.hidden_size=32") == "cpu"

    def test_auto_takes_the_gpu_for_sizes_of_the_speed_table_that_repay_it(self) -> None:
        asked = ("train.device=auto", "train.batch_size=128", "cell.hidden_size=100")
        assert device(*asked, steps=99, features=32) == "cuda"

    def test_the_threshold_is_a_step_of_1e8_multiply_accumulates(self) -> None:
        # (a window's matrices take 16 (32 + 16) 32 = 24,576, elementwise products and the head 10 to 20 % more)
        sides = {batch: device("train.device=auto", f"train.batch_size={batch}") for batch in (3000, 4200)}
        assert sides == {3000: "cpu", 4200: "cuda"}

    @pytest.mark.parametrize(("asked", "taken"), [("cpu", "cpu"), ("cuda", "cuda")])
    def test_what_is_asked_for_is_taken(self, asked: str, taken: str) -> None:
        assert device(f"train.device={asked}") == taken
        assert device(f"train.device={asked}", "train.batch_size=100000") == taken

    def test_integers_are_trained_on_the_cpu(self) -> None:
        assert device("train.device=auto", "train.arithmetic=fixed", "train.batch_size=100000") == "cpu"


def test_without_a_gpu_auto_is_the_cpu_and_cuda_an_error(monkeypatch: Patch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device("train.device=auto", "train.batch_size=100000") == "cpu"
    with pytest.raises(ConfigError, match=r"got none; set train\.device=cpu"):
        device("train.device=cuda")


@pytest.mark.parametrize(
    ("overrides", "backend"),
    [
        (("cell.backend=eager",), "eager"),
        (("cell=lenet5",), "torch"),
        (("cell=lstm", "train.arithmetic=fixed"), "integers"),
    ],
)
def test_what_runs_where_the_op_is_not_asked_for(overrides: tuple[str, ...], backend: str) -> None:
    config = composed(*overrides)
    spec = classifier_spec(config.cell, config.schedule, steps=8, input_size=8, classes=10)
    assert what_runs(config, build_classifier(spec, config.cell.backend), "cpu") == Ran("cpu", backend, None)


def test_an_op_that_does_not_compile_is_told_and_noted(monkeypatch: Patch, tmp_path: Path) -> None:
    def fails(library: Library) -> Path:
        raise BuildError(f"the fused op must compile, got: {library.name} is newer than this torch")

    monkeypatch.setattr(fused, "built", fails)
    monkeypatch.setattr(fused, "_load_op", cache(fused._load_op.__wrapped__))
    monkeypatch.setattr(fused, "_warn", cache(fused._warn.__wrapped__))
    with pytest.warns(EdgesearchWarning, match="rnn is newer than this torch; using the eager cells"):
        ran = trained(tmp_path, "train.epochs=3").ran
    assert ran == Ran("cpu", "eager", "the fused op must compile, got: rnn is newer than this torch")
