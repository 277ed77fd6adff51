"""The three phases as a callback of LightningModules that are not ours: exact zeros, whatever steps the optimisers."""

import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import edgesearch
from edgesearch.errors import ConfigError, EdgesearchWarning
from edgesearch.training.three_phase import ThreePhase, shares_by_name

SPARSITY = {"encoder.cells.*.[WU]": 0.5, "decoder.cells.0.U": 0.75, "head.weight": 0.2}
KEPT = {"encoder.cells.0.W": 60, "encoder.cells.0.U": 200, "decoder.cells.0.U": 100, "head.weight": 96}


class Reverser(pl.LightningModule):
    """Reads a sequence of numbers below 6 and says it backwards."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = edgesearch.FastGRNN(6, 20, batch_first=True, backend="eager")
        self.decoder = edgesearch.FastGRNN(6, 20, batch_first=True, backend="eager")
        self.head = nn.Linear(20, 6)
        self.losses: list[float] = []

    def loss(self, numbers: Tensor) -> Tensor:
        target = numbers.flip(1)
        _, state = self.encoder(one_hot(numbers, 6).float())
        start = torch.zeros(len(numbers), 1, 6)
        output, _ = self.decoder(torch.cat([start, one_hot(target[:, :-1], 6).float()], dim=1), state)
        loss: Tensor = cross_entropy(self.head(output).flatten(0, 1), target.flatten())
        self.losses.append(float(loss.detach()))
        return loss

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.loss(batch[0])

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.02)


class ByHand(Reverser):
    """Steps one optimiser for the encoder and one for the rest, each every `every` batches, wrapped or bare."""

    def __init__(self, *, every: int = 1, wrapped: bool = True) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.every, self.wrapped = every, wrapped

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:  # type: ignore[override]
        optimizers: Any = self.optimizers(use_pl_optimizer=self.wrapped)
        self.manual_backward(self.loss(batch[0]))
        if (batch_idx + 1) % self.every == 0:
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()

    def configure_optimizers(self) -> Any:
        rest = [*self.decoder.parameters(), *self.head.parameters()]
        return torch.optim.Adam(self.encoder.parameters(), lr=0.02), torch.optim.SGD(rest, lr=0.5, momentum=0.9)


class Supports(pl.Callback):
    """Notes after every batch which entries of a parameter are not zero."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: list[Tensor] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.seen.append(pl_module.get_parameter(self.name) != 0)


def numbers() -> DataLoader[Any]:
    sequences = torch.randint(6, (240, 3), generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(sequences), batch_size=24)


def trainer(folder: Path, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
    }
    saved = options.setdefault("enable_checkpointing", False)
    extra = [pl.callbacks.ModelCheckpoint(folder, "{epoch}", save_top_k=-1, every_n_epochs=1)] if saved else []
    return pl.Trainer(default_root_dir=folder, callbacks=[*callbacks, *extra], **quiet, **options)


def nonzeros(module: nn.Module) -> dict[str, int]:
    return {name: int(torch.count_nonzero(module.get_parameter(name))) for name in KEPT}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Lightning's advice on workers and logging; a warning of ours is an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        warnings.filterwarnings("error", category=EdgesearchWarning)
        yield


@pytest.mark.parametrize("cut", ["ramp", "step"])
def test_an_encoder_decoder_learns_with_exactly_the_wanted_zeros(tmp_path: Path, cut: str) -> None:
    module, supports = Reverser(), Supports("decoder.cells.0.U")
    trainer(tmp_path, supports, ThreePhase(SPARSITY, cut=cut), max_epochs=30).fit(module, numbers())
    assert nonzeros(module) == KEPT
    assert module.losses[-1] < 0.3 * module.losses[0]
    counts = [int(seen.sum()) for seen in supports.seen]
    assert counts[:100] == [400] * 100
    assert counts[199:] == [100] * 101
    assert counts == sorted(counts, reverse=True)
    assert all(torch.equal(seen, supports.seen[199]) for seen in supports.seen[199:])
    changed = [s for s in range(101, 300) if not torch.equal(supports.seen[s], supports.seen[s - 1])]
    assert set(changed) <= {*range(100, 200, 15), 199}


@pytest.mark.parametrize(("way", "accumulate", "steps"), [("Reverser", 1, 60), ("Reverser", 4, 18), ("ByHand", 1, 60)])
@pytest.mark.parametrize("stop_after", [0, 2, 4], ids=["dense", "iht", "retrain"])
def test_a_resumed_training_has_the_same_masks_and_weights(
    tmp_path: Path, stop_after: int, way: str, accumulate: int, steps: int
) -> None:
    made = {"Reverser": Reverser, "ByHand": ByHand}[way]
    options = {"max_epochs": 6, "accumulate_grad_batches": accumulate, "enable_checkpointing": True}
    whole, schedule = made(), ThreePhase(SPARSITY, trim_every=2)
    trainer(tmp_path, schedule, **options).fit(whole, numbers())
    assert nonzeros(whole) == KEPT
    state = schedule.state_dict()
    assert state["steps"] == steps
    resumed, again = made(), ThreePhase(SPARSITY, trim_every=2)
    checkpoint = tmp_path / f"epoch={stop_after}.ckpt"
    trainer(tmp_path / "again", again, **options).fit(resumed, numbers(), ckpt_path=checkpoint, weights_only=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    for name in KEPT:
        assert torch.equal(again.state_dict()["masks"][name], state["masks"][name]), name
        assert torch.equal(state["masks"][name] != 0, whole.get_parameter(name) != 0), name


@pytest.mark.parametrize("wrapped", [True, False], ids=["wrapped", "bare"])
@pytest.mark.parametrize(
    ("every", "total_steps", "limits", "counted"),
    [
        (1, None, {"max_epochs": 6}, 60),  # (batches)
        (5, None, {"max_epochs": 6}, 60),
        (1, 120, {"max_epochs": 6}, 120),  # (steps of both)
        (5, 24, {"max_epochs": 6}, 24),
    ],
)
def test_two_optimisers_by_hand(
    tmp_path: Path, every: int, total_steps: int | None, limits: dict[str, int], counted: int, wrapped: bool
) -> None:
    module = ByHand(every=every, wrapped=wrapped)
    schedule, supports = ThreePhase(SPARSITY, total_steps=total_steps), Supports("encoder.cells.0.U")
    trainer(tmp_path, schedule, supports, **limits).fit(module, numbers())
    assert nonzeros(module) == KEPT
    assert schedule.state_dict()["steps"] == counted
    counts = [int(seen.sum()) for seen in supports.seen]
    assert counts[:20] == [400] * 20
    assert counts[40:] == [200] * 20


def test_max_steps_counts_the_steps_of_both_optimisers(tmp_path: Path) -> None:
    module, schedule = ByHand(), ThreePhase(SPARSITY)
    trainer(tmp_path, schedule, max_steps=60).fit(module, numbers())
    assert (nonzeros(module), schedule.state_dict()["steps"]) == (KEPT, 60)
    assert len(module.losses) == 30


class Pictures(pl.LightningModule):
    """A convolution in the layout of the device's library, a transposed weight, a scalar."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.conv.weight = nn.Parameter(torch.randn(5, 3, 3, 3).to(memory_format=torch.channels_last))
        self.linear = nn.Linear(20, 7)
        self.linear.weight = nn.Parameter(torch.randn(20, 7).T)
        self.scale = nn.Parameter(torch.ones(()))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        answers: Tensor = self.linear(self.conv(batch[0]).flatten(1))
        return self.scale * answers.square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-4)


def test_patterns_reach_weights_of_any_layout(tmp_path: Path) -> None:
    module = Pictures()
    pictures = DataLoader(TensorDataset(torch.randn(30, 3, 4, 4)), batch_size=5)
    schedule = ThreePhase({"*.weight": 0.7, "linear.weight": 0.99, "scale": 0.9, "conv.bias": 0.0}, trim_every=1)
    trainer(tmp_path, schedule, max_epochs=3).fit(module, pictures)
    kept = {name: int(torch.count_nonzero(p)) for name, p in module.named_parameters()}
    assert kept == {"conv.weight": 41, "conv.bias": 5, "linear.weight": 1, "linear.bias": 7, "scale": 1}


def test_a_callback_that_is_used_again_begins_again(tmp_path: Path) -> None:
    schedule = ThreePhase(SPARSITY)
    for _ in range(2):
        module, supports = Reverser(), Supports("encoder.cells.0.U")
        trainer(tmp_path, schedule, supports, max_epochs=3).fit(module, numbers())
        assert nonzeros(module) == KEPT
        assert all(seen.all() for seen in supports.seen[:10])
        optimizer = module.optimizers(use_pl_optimizer=False)
        assert not optimizer._optimizer_step_post_hooks  # type: ignore[union-attr]


def test_a_checkpoint_without_masks_is_cut_at_once(tmp_path: Path) -> None:
    trainer(tmp_path, max_epochs=5, enable_checkpointing=True).fit(Reverser(), numbers())
    module = Reverser()
    checkpoint = tmp_path / "epoch=4.ckpt"
    trainer(tmp_path, ThreePhase(SPARSITY), max_epochs=6).fit(module, numbers(), ckpt_path=checkpoint)
    assert nonzeros(module) == KEPT


def test_masks_of_version_0_1_are_taken_and_not_chosen_again() -> None:
    module = nn.ModuleDict({"model": nn.Linear(4, 3, bias=False)})
    weight = module.get_parameter("model.weight")
    mask = torch.zeros(3, 4).index_fill_(1, torch.tensor([1, 2]), 1.0)
    schedule = ThreePhase({"model.weight": 0.5}, trim_every=1)
    schedule.load_state_dict({"weight": mask})
    schedule.attach(module, 9)
    schedule.after_step(7)
    assert torch.equal(weight != 0, mask != 0)


def test_a_training_that_ends_early_says_so(tmp_path: Path) -> None:
    with pytest.warns(EdgesearchWarning, match=r"U was to keep 200 of 400 entries, got 400 after 10 of 300 steps; set"):
        trainer(tmp_path, ThreePhase({"encoder.*.U": 0.5}, total_steps=300), max_epochs=1).fit(Reverser(), numbers())


class Endless(IterableDataset[Tensor]):
    """Batches without end."""

    def __iter__(self) -> Iterator[Tensor]:
        while True:
            yield torch.zeros(3, dtype=torch.int64)


class Optimiserless(ByHand):
    """Its optimisers are nobody's business."""

    def configure_optimizers(self) -> Any:
        return None


def test_what_the_trainer_does_not_know_is_asked_for(tmp_path: Path) -> None:
    endless: Any = DataLoader(Endless(), batch_size=4)
    with pytest.raises(ConfigError, match=r"the trainer does not know, got total_steps=None; set total_steps"):
        trainer(tmp_path, ThreePhase(SPARSITY), max_epochs=3).fit(Reverser(), endless)
    with pytest.raises(ConfigError, match=r"the trainer does not know"):
        trainer(tmp_path, ThreePhase(SPARSITY), max_epochs=-1).fit(Reverser(), numbers())
    accumulation = pl.callbacks.GradientAccumulationScheduler({2: 2})
    with pytest.raises(ConfigError, match=r"the trainer does not know"):
        trainer(tmp_path, ThreePhase(SPARSITY), accumulation, max_epochs=3).fit(Reverser(), numbers())
    with pytest.raises(ConfigError, match=r"got none of torch with parameters of Optimiserless; return it there"):
        trainer(tmp_path, ThreePhase(SPARSITY), max_epochs=3).fit(Optimiserless(), numbers())


def test_names_and_patterns() -> None:
    names = ["encoder.W", "encoder.U", "encoder.bias", "head.W"]
    assert shares_by_name({"encoder.*": 0.5, "encoder.bias": 0.0}, names) == {"encoder.W": 0.5, "encoder.U": 0.5}
    assert shares_by_name({"head.W": 0.1, "*.W": 0.2, "enc*.W": 0.2}, names) == {"encoder.W": 0.2, "head.W": 0.1}
    clash = r"got 0.5 by '\*.W' and 0.7 by 'head.\*' for head.W; add \"head.W\": 0.7"
    with pytest.raises(ConfigError, match=clash):
        shares_by_name({"*.W": 0.5, "head.*": 0.7}, names)
    with pytest.raises(ConfigError, match=r"got 'encoder.V', which matches none; the nearest are encoder\.[WU]"):
        shares_by_name({"encoder.V": 0.5}, names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": {}}, "must name at least one parameter, got {}"),
        ({"sparsity": {"W": 1.0}}, "at least 0 and less than 1, got 1.0 for W"),
        ({"sparsity": {"W": -0.1}}, "got -0.1 for W"),
        ({"sparsity": {"W": float("nan")}}, "got nan for W"),
        ({"sparsity": {"W": "0.5"}}, "got '0.5' for W"),
        ({"sparsity": {"W": 0.5}, "total_steps": 0}, "total_steps must be at least 1, got 0"),
        ({"sparsity": {"W": 0.5}, "trim_every": 0}, "trim_every must be at least 1, got 0"),
        ({"sparsity": {"W": 0.5}, "cut": "whole"}, "cut must be one of ramp, step, got 'whole'"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        edgesearch.ThreePhase(**arguments)


def test_the_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    section = text.split("### Three phases for any LightningModule\n")[1].split("\n##")[0]
    code = textwrap.dedent("\n".join(line for line in section.splitlines() if not line or line.startswith("    ")))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code.replace("max_epochs=30", "max_epochs=3, logger=False"), names)  # noqa: S102  (what the README shows)
    counts = {name: int(torch.count_nonzero(p)) for name, p in names["module"].named_parameters()}
    assert (counts["encoder.cells.0.W"], counts["encoder.cells.0.U"]) == (256, 2048)
    assert (counts["decoder.cells.0.W"], counts["decoder.cells.0.U"], counts["head.weight"]) == (512, 1024, 410)
