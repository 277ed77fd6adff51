"""The arithmetic of the three phases."""

import pytest

from edgesearch.cells.spec import TensorSpec, kept_entries
from edgesearch.training.phases import Phases

TENSOR = TensorSpec("U", (20, 50), "matrix", 0.7)


@pytest.mark.parametrize("cut", ["ramp", "step"])
@pytest.mark.parametrize("total", [1, 2, 3, 7, 100, 999, 4800])
def test_phases_follow_each_other_and_end_at_the_final_sparsity(total: int, cut: str) -> None:
    phases = Phases(total, 15, cut, active=True)
    order = {"dense": 0, "iht": 1, "retrain": 2}
    stages = [order[phases.at(step)] for step in range(total)]
    assert stages == sorted(stages)
    assert stages.count(1) >= 1
    trims = [step for step in range(total) if phases.trims(step)]
    assert trims[0] == phases.iht_from
    assert trims[-1] == phases.retrain_from - 1
    kept = [phases.kept(TENSOR.size, TENSOR.sparsity, step) for step in trims]
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] == TENSOR.nonzeros == kept_entries(1000, 0.7) == 300


def test_a_third_of_the_steps_each_and_trims_every_fifteen() -> None:
    phases = Phases(900, 15, "ramp", active=True)
    counts = [[phases.at(step) for step in range(900)].count(p) for p in ("dense", "iht", "retrain")]
    assert counts == [300, 300, 300]
    assert [step for step in range(900) if phases.trims(step)] == [*range(300, 600, 15), 599]


def test_the_step_cut_is_whole_at_once_and_the_ramp_gradual() -> None:
    step, ramp = (Phases(900, 15, cut, active=True) for cut in ("step", "ramp"))
    assert step.kept(1000, 0.7, 300) == 300
    assert ramp.kept(1000, 0.7, 300) == 1000
    assert 300 < ramp.kept(1000, 0.7, 375) < 1000
    assert ramp.kept(1000, 0.7, 450) == 300


def test_a_dense_schedule_never_cuts() -> None:
    phases = Phases(900, 15, "ramp", active=False)
    assert {phases.at(step) for step in range(900)} == {"dense"}
    assert not any(phases.trims(step) for step in range(900))
