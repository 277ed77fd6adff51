"""Every task says which keys it takes; an override that it would leave unread is refused or told of."""

import pytest

from edgesearch.config.load import key_types
from edgesearch.config.schema import TASKS
from edgesearch.config.taken import TAKEN, unread
from edgesearch.errors import ConfigError


def test_every_task_has_its_keys_and_every_key_its_task() -> None:
    assert TAKEN.keys() == set(TASKS)
    for names in TAKEN.values():
        assert {name for name in names if name != "experiment"} <= key_types().keys()
    for key in key_types():
        assert not unread("train", {key: key}) or any(not unread_or_refused(task, key) for task in TASKS), key


def unread_or_refused(task: str, key: str) -> bool:
    try:
        return bool(unread(task, {key: key}))
    except ConfigError:
        return True


@pytest.mark.parametrize(
    ("task", "override", "remedy"),
    [
        ("quantize", "quant.weight_bits=16", "leave it out or set task=finetune"),
        ("quantize", "train.epochs=3", "leave it out, or train another run with it"),
        ("test", "cell=gru", "leave it out, or train another run with it"),
        ("test", "quant=int8", "leave it out or set task=quantize"),
        ("finetune", "train.lr=1", "leave it out, or train another run with it"),
        ("profile", "seed=3", "leave it out, or train another run with it"),
        ("show", "data.noise=1", "leave it out, or train another run with it"),
    ],
)
def test_what_a_run_brings_along_is_refused(task: str, override: str, remedy: str) -> None:
    key = override.partition("=")[0]
    with pytest.raises(ConfigError) as caught:
        unread(task, {key: override})
    group = key.partition(".")[0]
    assert str(caught.value) == f"task={task} takes {group} from the run that it works on, got {override}; {remedy}"


@pytest.mark.parametrize(
    ("task", "override", "words"),
    [
        ("train", "search.n_trials=3", "task=train does not use search.n_trials=3, which task=search, task=report do"),
        ("train", "finetune.epochs=3", "which task=search, task=compress, task=finetune do; leave it out"),
        ("test", "prune.error_margin=3", "which task=compress, task=prune do"),
        ("approximate", "cell=gru", "task=approximate does not use cell=gru"),
        ("test", "experiment=usps10_1kb", "task=test does not use experiment=usps10_1kb"),
    ],
)
def test_other_keys_are_told_of(task: str, override: str, words: str) -> None:
    (warning,) = unread(task, {override.partition("=")[0]: override})
    assert words in warning


@pytest.mark.parametrize(
    ("task", "keys"),
    [
        ("train", ("cell", "cell.wRank", "data.path", "train.lr", "quant.named.U", "budget", "logger.name", "seed")),
        ("test", ("run", "data.path", "train.threads", "quantization", "export", "progress", "outputs_dir")),
        ("quantize", ("quant.error_margin", "quant.range", "pruning", "export.name")),
        ("finetune", ("quant.weight_bits", "quant.named.U", "finetune.lr", "train.device")),
        ("search", ("search.space.cell.wRank", "cell", "finetune.epochs", "train.epochs")),
    ],
)
def test_what_a_task_takes_is_free(task: str, keys: tuple[str, ...]) -> None:
    assert unread(task, {key: f"{key}=1" for key in keys}) == []
