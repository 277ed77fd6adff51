"""Training: sparsity kept, best epoch eligible, interrupted runs identical, guards."""

import functools
import io
import math
import signal
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edgesearch.cells.classifier import build_classifier
from edgesearch.cells.spec import ModelSpec, model_spec
from edgesearch.config import Config
from edgesearch.data import Dataset, load_dataset
from edgesearch.data.batches import Augmentation, Batches
from edgesearch.errors import ModelFileError, TrainingError
from edgesearch.training.callbacks import BestEpoch
from edgesearch.training.fit import Fitted, fit
from edgesearch.training.module import SequenceClassifier, learning_rate
from edgesearch.training.phases import Phases
from edgesearch.training.three_phase import ThreePhase
from tests.conftest import composed

DATASET = load_dataset(composed().data)
SMALL = ("cell.hidden_size=8", "train.epochs=9", "schedule.sparsity=0.6", "train.checkpoint_seconds=0")


def spec_of(config: Config, dataset: Dataset = DATASET) -> ModelSpec:
    shape = {"steps": dataset.steps, "input_size": dataset.input_size, "classes": dataset.classes}
    return model_spec(config.cell, config.schedule, **shape)


def trained(
    folder: Path, *overrides: str, on_epoch: Callable[[Any], None] = lambda row: None, dataset: Dataset = DATASET
) -> Fitted:
    config = composed(*SMALL, *overrides)
    return fit(config, dataset, spec_of(config, dataset), folder / "last.ckpt", on_epoch)


def weights(fitted: Fitted) -> dict[str, Tensor]:
    return fitted.state_dict


class Interrupted(BaseException):
    """Ends a training from outside, as a kill would, but within the test's process."""


@pytest.mark.parametrize("stop_after", [1, 4, 7], ids=["dense", "iht", "retrain"])
@pytest.mark.parametrize(
    "overrides",
    [
        ("cell.dropout=0.2", "cell.num_layers=2", "data.augment=true"),
        ("cell=lstm",),
        ("cell=lstm", "train.arithmetic=fixed", "train.rounding=stochastic", "data.augment=true"),
    ],
    ids=["layers", "lstm", "fixed"],
)
def test_an_interrupted_run_ends_with_identical_weights(
    tmp_path: Path, stop_after: int, overrides: tuple[str, ...]
) -> None:
    whole = trained(tmp_path / "whole", *overrides)

    def interrupt(row: Any) -> None:
        if row["epoch"] == stop_after:
            raise Interrupted

    with pytest.raises(Interrupted):
        trained(tmp_path / "cut", *overrides, on_epoch=interrupt)
    rows: list[Any] = []
    resumed = trained(tmp_path / "cut", *overrides, on_epoch=rows.append)
    assert resumed.resumed_at == stop_after
    assert [row["epoch"] for row in rows] == list(range(9))
    assert resumed.epoch == whole.epoch
    assert resumed.overflows == whole.overflows
    for name, value in weights(whole).items():
        assert torch.equal(weights(resumed)[name], value), name
    last = [torch.load(tmp_path / run / "last.ckpt", weights_only=True)["state_dict"] for run in ("whole", "cut")]
    for name, value in last[0].items():
        assert torch.equal(last[1][name], value), name


@pytest.mark.parametrize("cut", ["ramp", "step"])
@pytest.mark.parametrize("cell", ["fastgrnn", "gru", "fastgrnn train.arithmetic=fixed"])
def test_the_chosen_weights_meet_the_sparsity(tmp_path: Path, cell: str, cut: str) -> None:
    shape = ("cell.wRank=4", "cell.uRank=5", "schedule.wSparsity=0.3", f"schedule.cut={cut}")
    overrides = (*f"cell={cell}".split(), *shape)
    fitted = trained(tmp_path, *overrides)
    for tensor in spec_of(composed(*SMALL, *overrides)).tensors():
        found = int(torch.count_nonzero(weights(fitted)[tensor.name]))
        if tensor.sparsity:
            assert found <= tensor.nonzeros, tensor.name
    assert fitted.history[0]["nonzeros"] > fitted.history[-1]["nonzeros"]  # type: ignore[operator]
    assert [row["phase"] for row in fitted.history] == ["dense"] * 3 + ["iht"] * 3 + ["retrain"] * 3
    assert fitted.epoch >= 3


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("train.label_smoothing=0.2",),
        ("train.weight_decay=0.01",),
        ("train.clip_norm=0.05",),
        ("train.clip_norm=null",),
        ("data.augment=true", "data.noise=0.5"),
        ("train.lr_schedule=step", "train.lr_step_epochs=2"),
        ("train.loss=mse",),
        ("train.loss=mse", "train.label_smoothing=0.2"),
    ],
    ids=lambda o: o[0] if o else "defaults",
)
def test_every_setting_reaches_the_optimiser(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    """A loop written out here, without Lightning, ends with the very same weights."""
    common = ("schedule=dense", "schedule.sparsity=0", "train.epochs=3", *overrides)
    trained(tmp_path, *common)
    config = composed(*SMALL, *common)
    train, data = config.train, config.data
    torch.manual_seed(config.seed)
    model = build_classifier(spec_of(config))
    optimizer = torch.optim.Adam(model.parameters(), lr=train.lr, weight_decay=train.weight_decay, fused=True)
    augmentation = Augmentation(data.shift_steps, data.shift_features, data.noise) if data.augment else None
    batches = Batches(DATASET, train.batch_size, config.seed, augmentation)
    for epoch in range(3):
        optimizer.param_groups[0]["lr"] = learning_rate(train, epoch)
        for x, y in batches.epoch(epoch):
            optimizer.zero_grad()
            smoothing = train.label_smoothing
            if train.loss == "mse":
                targets = torch.nn.functional.one_hot(y, 10) * (1 - smoothing) + smoothing / 10
                (model(x) - targets).square().mean().backward()
            else:
                torch.nn.functional.cross_entropy(model(x), y, label_smoothing=smoothing).backward()
            if train.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), train.clip_norm)
            optimizer.step()
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    for name, value in model.named_parameters():
        assert torch.equal(last[f"model.{name}"], value), name


class Trainer:
    current_epoch = 0


def test_an_epoch_that_does_not_meet_the_sparsity_is_never_the_best() -> None:
    spec = spec_of(composed(*SMALL))
    module = SequenceClassifier(
        build_classifier(spec), spec.classes, composed().train, seed=0, steps_per_epoch=1, steps_per_chunk=1
    )
    phases = Phases(9, 1, "step", active=True)
    best = BestEpoch(spec, phases, lambda row: None)
    schedule = ThreePhase({"model.rnn.cells.*.[WU]": 0.6}, trim_every=1, cut="step")
    schedule.attach(module, 9)
    trainer: Any = Trainer()
    module.val_scores, module.val_loss = {"accuracy": 0.99}, 0.1
    best.on_train_epoch_end(trainer, module)
    assert best.best == {}
    schedule.after_step(3)
    trainer.current_epoch, module.val_scores = 3, {"accuracy": 0.5}
    best.on_train_epoch_end(trainer, module)
    assert best.best["epoch"] == 3
    trainer.current_epoch, module.val_loss = 4, 0.2
    best.on_train_epoch_end(trainer, module)
    assert best.best["epoch"] == 3
    trainer.current_epoch, module.val_scores = 5, {"accuracy": 0.6}
    best.on_train_epoch_end(trainer, module)
    assert best.best["epoch"] == 5


def test_without_sparsity_every_epoch_can_be_the_best(tmp_path: Path) -> None:
    fitted = trained(tmp_path, "schedule=dense", "schedule.sparsity=0", "train.epochs=2")
    best = max(fitted.history, key=lambda row: (row["val_accuracy"], -float(row["val_loss"])))
    assert fitted.epoch == best["epoch"]


def test_supports_change_only_on_trims_and_never_in_the_last_phase() -> None:
    config = composed(*SMALL)
    spec = spec_of(config)
    torch.manual_seed(0)
    model = build_classifier(spec)
    schedule = ThreePhase({"rnn.cells.0.W": 0.6, "rnn.cells.0.U": 0.6}, cut="step")
    schedule.attach(model, 90)
    U = model.get_parameter("rnn.cells.0.U")
    supports = []
    for step in range(90):
        with torch.no_grad():
            U.add_(0.5 * torch.randn_like(U))
        schedule.after_step(step)
        supports.append((U != 0).clone())
    assert all(supports[step].all() for step in range(30))
    changed = [step for step in range(31, 90) if not torch.equal(supports[step], supports[step - 1])]
    assert set(changed) <= {45, 59}
    assert supports[30].sum() == next(t.nonzeros for t in spec.tensors() if t.name.endswith("U"))


@pytest.mark.parametrize("name", ["constant", "step", "cosine"])
def test_learning_rate_schedules(name: str) -> None:
    config = composed(f"train.lr_schedule={name}", "train.epochs=10", "train.lr_step_epochs=4", "train.lr=0.5").train
    rates = [learning_rate(config, epoch) for epoch in range(10)]
    expected = {
        "constant": [0.5] * 10,
        "step": [0.5] * 4 + [0.05] * 4 + [0.005] * 2,
        "cosine": [0.25 * (1 + math.cos(math.pi * epoch / 10)) for epoch in range(10)],
    }[name]
    assert rates == pytest.approx(expected)


def test_early_stopping_waits_for_the_last_phase(tmp_path: Path) -> None:
    fitted = trained(tmp_path, "train.epochs=60", "train.patience=2", "train.lr=1e-9")
    assert len(fitted.history) == 43
    dense = trained(
        tmp_path / "dense",
        "schedule=dense",
        "schedule.sparsity=0",
        "train.epochs=60",
        "train.patience=2",
        "train.lr=1e-9",
    )
    assert len(dense.history) < 20


def test_a_training_that_stopped_early_stays_stopped(tmp_path: Path) -> None:
    overrides = ("schedule=dense", "schedule.sparsity=0", "train.epochs=60", "train.patience=1", "train.lr=0.05")
    first = trained(tmp_path, *overrides)
    assert len(first.history) < 60
    again = trained(tmp_path, *overrides)
    assert [row["epoch"] for row in again.history] == [row["epoch"] for row in first.history]
    assert again.epoch == first.epoch


def test_a_loss_that_is_not_finite_names_the_step(tmp_path: Path) -> None:
    x = DATASET.train.x.copy()
    x[:] = 3e38
    broken = replace(DATASET, train=replace(DATASET.train, x=x))
    with pytest.raises(
        TrainingError, match=r"the loss must stay finite, got nan at step 0 \(epoch 0\); lower train.lr"
    ):
        trained(tmp_path, "cell.update_nonlinearity=relu", dataset=broken)


def test_gradient_clipping_is_on_by_default() -> None:
    assert composed().train.clip_norm == 1.0


def test_the_head_is_trained(tmp_path: Path) -> None:
    config = composed(*SMALL)
    torch.manual_seed(config.seed)
    start = build_classifier(spec_of(config))
    fitted = trained(tmp_path)
    assert not torch.equal(weights(fitted)["FC"], start.FC)
    assert not torch.equal(weights(fitted)["FCbias"], start.FCbias)


def test_test_rows_do_not_influence_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shuffled = replace(DATASET, test=replace(DATASET.test, y=rng.permutation(DATASET.test.y)))
    first, second = trained(tmp_path / "a"), trained(tmp_path / "b", dataset=shuffled)
    for name, value in weights(first).items():
        assert torch.equal(weights(second)[name], value)


def test_a_damaged_checkpoint_is_not_trained_over(tmp_path: Path) -> None:
    trained(tmp_path, "train.epochs=2")
    path = tmp_path / "last.ckpt"
    whole = path.read_bytes()
    torch.save({"a": 1}, path)
    with pytest.raises(ModelFileError, match="is not a training checkpoint; delete it"):
        trained(tmp_path, "train.epochs=2")
    path.write_bytes(whole)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelFileError, match=r"last\.ckpt is damaged \([^\n]+\); delete it"):
        trained(tmp_path, "train.epochs=2")


def places(found: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something is in mappings and lists."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(found, dict):
        inner = list(found.items())
    elif isinstance(found, list):
        inner = list(enumerate(found[:1]))
    return [place for key, item in inner for place in [(*path, key), *places(item, (*path, key))]]


@pytest.mark.parametrize("overrides", [(), ("train.arithmetic=fixed", "cell=lstm")], ids=["float", "fixed"])
def test_a_checkpoint_of_another_shape_is_one_line(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    short = ("train.epochs=1", "schedule=dense", "schedule.sparsity=0", *overrides)
    trained(tmp_path, *short)
    path = tmp_path / "last.ckpt"
    whole = path.read_bytes()
    unread = ("validate_loop", "test_loop", "predict_loop")  # (parts of the loops that no training restores)
    everywhere = [p for p in places(torch.load(path, weights_only=True)) if not set(unread) & set(p)]
    assert len(everywhere) > 60
    refused = 0
    for place in [place for number, place in enumerate(everywhere) if len(place) < 3 or number % 4 == 0]:
        wrong: Any
        for wrong in (..., "x\x1b\n", *((None, []) if len(place) < 3 else ())):
            found = torch.load(io.BytesIO(whole), weights_only=True)
            holder = functools.reduce(lambda part, key: part[key], place[:-1], found)
            if wrong is ...:
                del holder[place[-1]]
            else:
                holder[place[-1]] = wrong
            torch.save(found, path)
            try:
                trained(tmp_path, *short)
            except ModelFileError as error:
                refused += 1
                assert str(error).isprintable()  # noqa: PT017
                assert str(error).endswith("delete it to train from the start")  # noqa: PT017
    assert refused > len(everywhere) / 2


def test_what_fails_in_training_is_not_taken_for_a_damaged_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(row: Any) -> None:
        if row["epoch"] == 1:
            raise Interrupted

    def failing(*given: Any) -> None:
        raise TypeError("a fault of ours")

    with pytest.raises(Interrupted):
        trained(tmp_path, on_epoch=interrupt)
    monkeypatch.setattr(SequenceClassifier, "on_train_epoch_start", failing)
    with pytest.raises(TypeError, match="a fault of ours"):
        trained(tmp_path)


def test_a_keyboard_interrupt_stays_one(tmp_path: Path) -> None:
    def interrupt(row: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, on_epoch=interrupt)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_checkpoint_that_cannot_be_written_keeps_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = Path.write_bytes, []

    def failing(path: Path, content: bytes) -> int:
        calls.append(path)
        if len(calls) == 3:
            plain(path, content[:100])
            raise OSError(28, "No space left on device")
        return plain(path, content)

    monkeypatch.setattr(Path, "write_bytes", failing)
    with pytest.raises(OSError, match="No space left") as caught:
        trained(tmp_path)
    assert caught.value.filename == str(tmp_path / "last.ckpt")
    monkeypatch.undo()
    assert trained(tmp_path).resumed_at == 2
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_checkpoint_needs_no_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    trained(tmp_path / "run", "train.epochs=1", "schedule=dense", "schedule.sparsity=0")
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["epoch"] == 0
