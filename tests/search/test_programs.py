"""The second level, the front, and what is fine-tuned."""

import json
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from edgesearch.config import BudgetConfig
from edgesearch.report.study import front
from edgesearch.search.chosen import Program, choose
from edgesearch.search.configurations import size_at
from edgesearch.search.programs import Point, hypervolume, most_accurate, points, representative
from edgesearch.search.sampling import RUNGS, Rungs
from edgesearch.search.study import Study
from edgesearch.search.trained import RESULT, Trained
from edgesearch.search.trial import phase_lengths
from edgesearch.search.tuning import candidates
from edgesearch.training.device import Ran
from tests.conftest import composed
from tests.search.helpers import study

UNLIMITED = BudgetConfig("none", None, None, 0, 0, None)


def point(flash: int, accuracy: float, bits: int = 8, loss: float = 0.5) -> Point:
    return Point(bits, 8, flash, 100, 1000, accuracy, loss)


def trained(number: int, float_accuracy: float, *found: Point) -> Trained:
    return Trained(number, {}, str(number), found, float_accuracy, 0, (), 1.0, {}, None)


def test_the_front_holds_what_nothing_beats() -> None:
    found = [point(100, 0.5), point(200, 0.4), point(200, 0.7), point(300, 0.7), point(400, 0.9), point(100, 0.3)]
    assert [(p.flash_bytes, p.val_accuracy) for p in front(found)] == [(100, 0.5), (200, 0.7), (400, 0.9)]


def test_of_equally_accurate_programs_the_one_of_least_loss_is_best() -> None:
    found = [point(100, 0.9, loss=0.4), point(300, 0.9, loss=0.2), point(200, 0.9, loss=0.2), point(50, 0.8, loss=0.1)]
    assert most_accurate(found).flash_bytes == 200


def test_what_is_within_a_standard_error_of_the_best_is_told_apart_by_loss() -> None:
    found = [point(900, 0.98, loss=0.08), point(700, 0.977, loss=0.06), point(500, 0.96, loss=0.05)]
    programs = [Program(trained(0, 0.9, p), p) for p in found]
    best, line = choose(programs, rows=1000)  # an error of 0.44 points
    assert best.point.flash_bytes == 700
    assert [p.point.flash_bytes for p in line] == [500, 700, 900]
    assert choose(programs, rows=100000)[0].point.flash_bytes == 900
    assert choose(programs, rows=20)[0].point.flash_bytes == 500


def test_the_hypervolume_is_the_area_under_the_front() -> None:
    # from 2 ** 8 to 2 ** 10 bytes of a limit of 2 ** 11: 3 octaves at 0.4 above 0.1, and 1 octave at 0.2 more
    assert hypervolume([(256, 0.5), (1024, 0.7), (1024, 0.6), (512, 0.3), (4096, 0.9)], 2048, 0.1) == pytest.approx(
        3 * 0.4 + 0.2
    )
    assert hypervolume([(256, 0.05)], 2048, 0.1) == 0


def test_a_model_stands_where_it_adds_most_to_the_front() -> None:
    others = [point(1000, 0.95)]
    own = [point(1000, 0.9), point(250, 0.8, 4)]
    assert representative(own, others, 0.1).flash_bytes == 250
    assert representative([point(1000, 0.9), point(2000, 0.96)], others, 0.1).flash_bytes == 2000


def test_every_width_is_priced_as_the_closed_form_says(tmp_path: Path) -> None:
    found: Study = study(tmp_path, "search.space.schedule=null", "schedule=dense", "search.weight_bits=[2,4,8]")
    claim = found.claim()
    assert claim is not None
    from edgesearch.cells.classifier import build_classifier

    weights = build_classifier(claim.proposal.spec).state_dict()
    programs = points(claim.proposal, weights, found.widths)
    assert [(p.weight_bits, p.activation_bits) for p in programs] == [(w, a) for w in (2, 4, 8) for a in (8, 16)]
    for program in programs:
        closed = size_at(claim.proposal, program.weight_bits, program.activation_bits)
        if program.weight_bits == 8:
            assert (program.flash_bytes, program.ram_bytes) == (closed.flash_bytes, closed.ram_bytes)
        assert program.flash_bytes <= closed.flash_bytes  # few bits round weights to zero, which are not stored
        assert program.macs <= closed.macs
        assert 0 <= program.val_accuracy <= 1


def test_what_may_come_back_is_tuned_first() -> None:
    found = [
        trained(0, 0.96, point(900, 0.955, 8), point(500, 0.90, 4)),
        trained(1, 0.98, point(1800, 0.97, 8), point(1000, 0.94, 4)),
        trained(2, 0.90, point(300, 0.89, 8)),
        trained(3, 0.99, point(700, 0.99, 8)),
    ]
    pairs = [(t, p) for t in found for p in t.points]
    budget = replace(UNLIMITED, flash_bytes=1024)
    chosen = candidates(pairs, 2, budget, "accuracy")
    assert [(c.trained.number, c.point.flash_bytes) for c in chosen] == [(1, 1000), (0, 900)]
    whole = candidates(pairs, 3, UNLIMITED, "pareto")
    assert [c.point.flash_bytes for c in whole] == sorted((c.point.flash_bytes for c in whole), reverse=True)
    assert whole[0].point.flash_bytes == 1800
    assert len({c.point for c in whole}) == len(whole) == 3
    assert candidates(pairs, 0, UNLIMITED, "accuracy") == []
    assert candidates([(t, replace(p, tuned=True)) for t, p in pairs], 3, UNLIMITED, "accuracy") == []


class Told:
    """Takes the place of a trial."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, float]] = []

    def report(self, value: float, step: int) -> None:
        self.reports.append((step, value))

    def should_prune(self) -> bool:
        return False


@pytest.mark.parametrize(("epochs", "options"), [(30, ()), (96, ()), (7, ("schedule.quantize_from=0.5",))])
def test_accuracies_of_different_phases_are_never_compared(epochs: int, options: tuple[str, ...]) -> None:
    config = composed(f"train.epochs={epochs}", *options)
    told = Told()
    rungs = Rungs(told, phase_lengths(config))  # type: ignore[arg-type]
    phases = ["dense"] * (epochs // 3) + ["iht"] * (epochs // 3)
    phases += ["retrain"] * (epochs - len(phases))
    if options:
        phases[epochs // 2 :] = ["quantized"] * (epochs - epochs // 2)
    order = ["dense", "iht", "retrain", "quantized"]
    for epoch, phase in enumerate(phases):
        before = len(told.reports)
        rungs.epoch(phase, float(epoch))
        for step, _ in told.reports[before:]:
            assert step // RUNGS == order.index(phase)
    steps = [step for step, _ in told.reports]
    assert steps == sorted(set(steps))
    assert len(steps) <= 3 * RUNGS
    assert steps[-1] % RUNGS == RUNGS - 1


@pytest.mark.parametrize("ran", [None, Ran("cuda", "eager", "no nvcc")])
def test_what_trained_is_kept_and_older_results_have_none(ran: Ran | None) -> None:
    kept = json.loads(json.dumps(replace(trained(0, 0.5, point(100, 0.5)), ran=ran).to_json()))
    if ran is None:
        del kept["ran"]
    trial = optuna.trial.create_trial(value=0.0, user_attrs={RESULT: kept})
    assert Trained.of(trial).ran == ran
