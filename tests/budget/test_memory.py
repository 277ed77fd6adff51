"""Memory: what a training would take is known before it is taken, and a refusal names the key to lower."""

import re

import pytest
import torch

from edgesearch.budget import memory
from edgesearch.budget.memory import check_memory, check_processes, memory_errors, training_memory
from edgesearch.cells.classifier import AnySpec, build_classifier, classifier_spec
from edgesearch.config import Config
from edgesearch.errors import ConfigError, MemoryLimitError
from tests.conftest import composed

ROWS, VALIDATION = 1000, 100


def spec_of(config: Config) -> AnySpec:
    return classifier_spec(config.cell, config.schedule, steps=50, input_size=20, classes=10)


@pytest.mark.parametrize("cell", ["fastgrnn", "lstm", "lenet5", "dscnn"])
def test_the_estimate_counts_weights_and_grows_with_the_batch(cell: str) -> None:
    config = composed(f"cell={cell}", "train.batch_size=10")
    spec = spec_of(config)
    parameters = sum(p.numel() for p in build_classifier(spec, "eager").parameters())
    small = training_memory(config, spec, ROWS, VALIDATION)
    assert small.weights == 40 * parameters
    config.train.batch_size = 100
    assert training_memory(config, spec, ROWS, VALIDATION).batch == 10 * small.batch
    config.train.batch_size = 10**6
    assert training_memory(config, spec, ROWS, VALIDATION).batch == ROWS // 10 * small.batch


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["train.batch_size=100000"], "train.batch_size"),
        (["cell.hidden_size=4096"], "cell.hidden_size"),
        (["cell=dscnn", "cell.channels=4096", "train.batch_size=1"], "cell.channels"),
        (["cell=lstm", "cell.hidden_size=64", "cell.num_layers=64", "train.batch_size=1"], "cell.hidden_size"),
        (["cell=lenet5", "cell.hidden_size=4096", "train.batch_size=1"], "cell.hidden_size"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_value_that_does(
    monkeypatch: pytest.MonkeyPatch, overrides: list[str], key: str
) -> None:
    config = composed(*overrides)
    needed = training_memory(config, spec_of(config), ROWS, VALIDATION).total
    monkeypatch.setattr(memory, "free_bytes", lambda device: needed)
    check_memory(config, spec_of(config), ROWS, VALIDATION)
    monkeypatch.setattr(memory, "free_bytes", lambda device: needed // 2)
    with pytest.raises(ConfigError, match=rf"must fit into the memory that is free, .*; set {key}=\d+$") as caught:
        check_memory(config, spec_of(config), ROWS, VALIDATION)
    smaller = composed(*overrides, *re.findall(r"set (\S+)$", str(caught.value)))
    check_memory(smaller, spec_of(smaller), ROWS, VALIDATION)


def test_workers_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    check_processes(1, 5000)
    check_processes(2, 500)
    with pytest.raises(ConfigError, match=r"got 3; set search.workers=2"):
        check_processes(3, 500)


def test_a_refused_allocation_is_one_line_and_other_errors_stay_themselves() -> None:
    with pytest.raises(MemoryLimitError, match=r"lower cell.hidden_size"), memory_errors("cell.hidden_size"):
        torch.empty(2**60)
    with pytest.raises(MemoryLimitError), memory_errors("data"):
        raise MemoryError
    with pytest.raises(RuntimeError, match="mat1"), memory_errors("data"):
        torch.ones(2, 3) @ torch.ones(2, 3)


def test_this_machine_says_what_is_free() -> None:
    free = memory.free_bytes("cpu")
    assert free is None or free > 2**20
