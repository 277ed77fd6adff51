"""What is drawn, refused, repeated, retried and counted. Results are made up here: no training."""

import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import torch
from optuna.trial import TrialState

from edgesearch.config import config_hash
from edgesearch.errors import ConfigError, StorageError
from edgesearch.search import study as study_module
from edgesearch.search.ledger import KIND
from edgesearch.search.programs import Point
from edgesearch.search.storage import OWNER
from edgesearch.search.study import Claim, Study
from edgesearch.search.trained import Trained, unpack
from edgesearch.search.trial import Limit
from tests.conftest import composed
from tests.search.helpers import space, study

WEIGHTS = {"FC": torch.arange(6.0).reshape(2, 3)}


def result(claim: Claim, accuracy: float = 0.9, flash: int = 500) -> Trained:
    point = Point(4, 8, flash, 100, 1000, accuracy, 0.3)
    return Trained(
        claim.number,
        claim.params,
        claim.proposal.identity,
        (point,),
        accuracy + 0.01,
        2,
        (("dense", 0.9, 0.1),),
        1.0,
        {},
        None,
    )


def claimed(found: Study) -> Claim:
    claim = found.claim()
    assert claim is not None
    return claim


def finish(found: Study, accuracy: float = 0.9) -> Claim:
    claim = claimed(found)
    assert found.complete(claim, result(claim, accuracy), WEIGHTS)
    return claim


def constraints(found: Study, number: int) -> dict[str, float]:
    return dict(found.ledger.trials()[number].constraints)


def test_a_result_comes_back_from_the_storage(tmp_path: Path) -> None:
    found = study(tmp_path)
    claim = finish(found)
    (kept,) = study(tmp_path).trained()
    assert kept == result(claim)
    trial = found.ledger.trials()[claim.number]
    assert trial.value == 0.9
    assert torch.equal(unpack(trial)["FC"], WEIGHTS["FC"])


def test_what_cannot_fit_is_a_constraint_and_never_a_training(tmp_path: Path) -> None:
    found = study(tmp_path, "budget.flash_bytes=250", "search.n_trials=4", "search=random")
    numbers = [finish(found).number for _ in range(4)]
    assert found.claim() is None
    trials = found.ledger.trials()
    refused = [t for t in trials if t.user_attrs[KIND] == "infeasible"]
    assert refused, "the space should hold models that are too large"
    assert found.counts().trained == 4
    for trial in refused:
        assert trial.state == TrialState.COMPLETE
        assert trial.number not in numbers
        assert trial.constraints["1"] > 0
        assert trial.system_attrs["constraints"][1] > 0  # what optuna-dashboard reads
        assert "bytes of flash" in trial.user_attrs["reason"]
    for number in numbers:
        assert constraints(found, number).keys() == constraints(found, refused[0].number).keys()


@pytest.fixture
def few_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_module, "_MISSES", 30)


@pytest.mark.usefixtures("few_misses")
def test_a_space_in_which_nothing_fits_is_one_line(tmp_path: Path) -> None:
    found = study(tmp_path, "budget.flash_bytes=40")
    with pytest.raises(ConfigError, match="configurations that fit, got none"):
        found.claim()


def test_a_rank_that_saves_nothing_is_the_full_rank(tmp_path: Path) -> None:
    found = study(tmp_path)
    drawn = {"cell.hidden_size": 8, "cell.wRank": 3, "cell.uRank": 4, "cell.gate_nonlinearity": "sigmoid"}
    cell = found.configurations.propose({**drawn, "schedule.sparsity": 0.0}).config.cell
    assert (cell.wRank, cell.uRank) == (3, None)  # 8 x 3 + 3 x 8 < 8 x 8; 8 x 4 + 4 x 8 is not


@pytest.mark.usefixtures("few_misses")
def test_the_same_training_is_not_done_twice(tmp_path: Path) -> None:
    found = study(tmp_path, *space("{cell:{hidden_size:'choice(4,8)'}}"), "search=random", "search.n_trials=5")
    assert {finish(found, accuracy).params["cell.hidden_size"] for accuracy in (0.8, 0.9)} == {4, 8}
    assert found.claim() is None
    counts = found.counts()
    assert (counts.trained, counts.done) == (2, 2)
    assert counts.repeated >= 30
    repeats = [t for t in found.ledger.trials() if t.user_attrs[KIND] == "repeated"]
    trials = found.ledger.trials()
    assert all(t.values == trials[t.user_attrs["repeats"]].values for t in repeats)


def test_n_trials_is_the_total(tmp_path: Path) -> None:
    first = study(tmp_path, "search.n_trials=2")
    finish(first)
    finish(first)
    assert study(tmp_path, "search.n_trials=2").claim() is None
    assert claimed(study(tmp_path, "search.n_trials=3")).number >= 2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("budget.flash_bytes=2048", "budget.flash_bytes was 1024 and is 2048"),
        ("data.split_seed=1", "data.split_seed was 0 and is 1"),
        ("search.space.cell.hidden_size='choice(4,6)'", "search.space.cell.hidden_size was"),
        ("search.objective=pareto", "search.objective was accuracy and is pareto"),
        ("search.weight_bits=[8]", r"search.weight_bits was \[4, 8\] and is \[8\]"),
    ],
)
def test_other_settings_under_the_same_name_are_refused(tmp_path: Path, override: str, words: str) -> None:
    named = ("budget.flash_bytes=1024", "search.study=mine")
    study(tmp_path, *named)
    with pytest.raises(ConfigError, match=words) as caught:
        study(tmp_path, *named, override)
    assert "\n" not in str(caught.value)


def test_a_study_may_go_on_with_more_trials_and_another_sampler(tmp_path: Path) -> None:
    finish(study(tmp_path))
    assert claimed(study(tmp_path, "search=random", "search.n_trials=90", "search.workers=2", "search.timeout=5"))


def test_a_study_of_another_program_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"
    optuna.create_study(study_name="digits-fastgrnn-none", storage=url).add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(StorageError, match="got another's"):
        study(tmp_path, f"search.storage={url}")


def dead_process() -> str:
    """The name of an owner that is no more."""
    code = "from edgesearch.search.storage import owner; print(owner())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def abandon(found: Study, claim: Claim, owner: str) -> None:
    found.ledger.storage.set_trial_user_attr(found.ledger.id(claim.number), OWNER, owner)


def test_the_trial_of_a_dead_process_is_done_again_once(tmp_path: Path) -> None:
    found, gone = study(tmp_path, "search.n_trials=1"), dead_process()
    first = claimed(found)
    abandon(found, first, gone)
    second = claimed(found)
    assert second.params == first.params
    assert found.ledger.trials()[first.number].state == TrialState.FAIL
    abandon(found, second, gone)
    third = claimed(found)
    waiting = found.ledger.trials(TrialState.WAITING)
    assert not waiting
    assert third.number == second.number + 1
    assert found.counts().running == 1
    finish_claim = found.complete(third, result(third), WEIGHTS)
    assert finish_claim
    assert found.counts().done == 1
    assert found.claim() is None


def test_a_late_result_of_a_trial_that_was_given_away_does_not_count(tmp_path: Path) -> None:
    found = study(tmp_path)
    claim = claimed(found)
    abandon(found, claim, dead_process())
    found.ledger.reap()
    assert not found.complete(claim, result(claim), WEIGHTS)
    assert found.counts().done == 0


def test_a_process_that_dies_while_it_writes_a_result_loses_nothing(tmp_path: Path) -> None:
    found = study(tmp_path, "search.n_trials=1")
    claim = claimed(found)
    claim.trial.set_user_attr(KIND, "trained")  # the first of the writes of `complete`
    abandon(found, claim, dead_process())
    again = claimed(found)
    assert again.params == claim.params
    assert found.counts().done == 0
    found.complete(again, result(again), WEIGHTS)
    assert found.counts().trained == 1


def test_a_suspended_process_is_not_taken_for_dead(tmp_path: Path) -> None:
    found = study(tmp_path, "search.heartbeat_seconds=1")
    claimed(found)
    time.sleep(4.5)
    found.ledger.reap()
    assert found.counts().running == 1


def test_a_remote_process_that_dies_at_once_is_noticed(tmp_path: Path) -> None:
    found = study(tmp_path, "search.heartbeat_seconds=1")
    trial = found.ledger.take()
    found.ledger.storage.set_trial_user_attr(found.ledger.id(trial.number), OWNER, "elsewhere|1|1")
    time.sleep(4.5)
    found.ledger.reap()
    assert found.counts().running == 0


def test_a_released_trial_is_taken_up_again_every_time(tmp_path: Path) -> None:
    found = study(tmp_path)
    first = claimed(found)
    for _ in range(3):
        found.ledger.release(claim_number := found.ledger.trials(TrialState.RUNNING)[0].number)
        again = claimed(found)
        assert again.params == first.params
        assert again.number > claim_number


def test_an_owner_on_another_machine_is_judged_by_its_heartbeat(tmp_path: Path) -> None:
    found = study(tmp_path, "search.heartbeat_seconds=1")
    claim = claimed(found)
    abandon(found, claim, "elsewhere|1|1")
    with found.ledger.beating(claim.number):
        time.sleep(4.5)
        found.ledger.reap()
        assert found.counts().running == 1
    time.sleep(4.5)
    found.ledger.reap()
    assert found.counts().running == 0
    assert claimed(found).params == claim.params


def test_one_trial_too_many_is_given_back(tmp_path: Path) -> None:
    here, there = study(tmp_path, "search.n_trials=2"), study(tmp_path, "search.n_trials=2")
    first, second = claimed(here), claimed(there)
    assert isinstance(here._draw(), str)  # what a third process would do that saw only one of them
    assert here.counts().running == 2
    for claim in (first, second):
        here.complete(claim, result(claim), WEIGHTS)
    assert here.counts().done == 2
    assert here.claim() is None


def test_waiting_for_others_ends_with_the_time(tmp_path: Path) -> None:
    found = study(tmp_path, "search.n_trials=1")
    claimed(found)
    assert found.claim(Limit(time.monotonic() + 0.2).reached) is None


def test_pruned_and_failed_trainings_count_and_teach(tmp_path: Path) -> None:
    found = study(tmp_path, "search.n_trials=2", "budget.flash_bytes=4000")
    pruned = claimed(found)
    found.prune(pruned)
    failed = claimed(found)
    found.fail(failed, "the loss must stay finite")
    counts = found.counts()
    assert (counts.pruned, counts.failed, counts.done) == (1, 1, 2)
    trials = found.ledger.trials()
    assert trials[pruned.number].state == TrialState.PRUNED
    assert trials[failed.number].constraints["0"] > 0
    assert trials[failed.number].constraints.keys() == trials[pruned.number].constraints.keys()
    assert found.claim() is None


@pytest.mark.parametrize("name", ["tpe", "nsga2", "gp", "random"])
@pytest.mark.parametrize("objective", ["accuracy", "pareto"])
def test_every_sampler_learns_from_what_does_not_fit(tmp_path: Path, name: str, objective: str) -> None:
    options = (f"search={name}", f"search.objective={objective}", "budget.flash_bytes=250", "search.n_trials=13")
    found = study(tmp_path, *options)
    for step in range(13):
        claim = claimed(found)
        found.complete(claim, result(claim, 0.8 + 0.01 * step, 240 - step), WEIGHTS)
    assert found.claim() is None
    assert found.counts().trained == 13
    best = found.ledger.study.best_trials
    assert best
    assert all(t.user_attrs[KIND] == "trained" for t in best)


def test_a_grid_is_searched_once_and_goes_on_where_it_was(tmp_path: Path) -> None:
    options = ("search=grid", *space("{cell:{hidden_size:[4,6,8]},seed:[0,1]}"), "search.n_trials=90")
    drawn = [finish(study(tmp_path, *options)).params for _ in range(6)]
    assert drawn == [{"cell.hidden_size": h, "seed": s} for h in (4, 6, 8) for s in (0, 1)]
    assert study(tmp_path, *options).claim() is None


def test_groups_of_the_configuration_can_be_searched(tmp_path: Path) -> None:
    found = study(tmp_path, "search=grid", *space("{cell:[fastrnn,gru],seed:[0]}"))
    proposals = [finish(found).proposal.config.cell for _ in range(2)]
    assert [cell.name for cell in proposals] == ["fastrnn", "gru"]
    assert proposals[1].reset_after is True


def test_the_command_of_a_trial_says_all_that_is_needed(tmp_path: Path) -> None:
    options = (
        "~search.space.cell.wRank",
        "cell.wRank=8",
        "search.space.cell.hidden_size=[6]",
        "budget.flash_bytes=4000",
    )
    found = study(tmp_path, *options)
    claim = claimed(found)
    line = found.configurations.command(claim.proposal.config, claim.params)
    composed_again = composed(*line.removeprefix("python -m edgesearch ").split())
    assert (
        config_hash(composed_again, found.configurations.content)
        == found.configurations.rebuilt(claim.proposal.config).name
    )
    assert composed_again.task.name == "train"
    assert composed_again.cell.wRank is None


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("+search.space.cell=[fastgrnn,nosuch]", "nested and dotted|nosuch"),
        ("search.space.schedule.sparsity=[0.5,2.0]", "must be less than 1, got 2.0"),
        ("search.space.train={lr:'interval(0, 1)'}", "must be greater than 0, got 0"),
        ("+search.space.data={validation:[0.1,0.2]}", "the same for all trials"),
        ("+search.space.data={features:[logmel]}", "holds keys of its own"),
    ],
)
def test_mistakes_are_found_before_a_study_begins(tmp_path: Path, override: str, words: str) -> None:
    options = space("{cell:[fastgrnn,nosuch]}") if "nosuch" in override else (override,)
    with pytest.raises((ConfigError, Exception), match=words):
        study(tmp_path, *options).configurations.check()


def test_a_grid_that_has_no_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="up to 100,000 combinations"):
        study(tmp_path, "search=grid", *space("{seed:'range(0,1000)',cell:{hidden_size:'range(1,1000)'}}"))


@pytest.mark.parametrize("cell", ["fastrnn", "lstm", "lenet5", "dscnn"])
def test_every_cell_can_be_searched_in_the_space_of_all(tmp_path: Path, cell: str) -> None:
    found = study(tmp_path, f"cell={cell}", "search.study=any")
    claim = claimed(found)
    assert claim.proposal.config.cell.name == cell
    line = found.configurations.command(claim.proposal.config, claim.params)
    assert composed(*line.removeprefix("python -m edgesearch ").split()).cell == claim.proposal.config.cell
