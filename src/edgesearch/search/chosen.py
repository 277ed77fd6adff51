"""When a search ends: the programs of the front, tested once, each in a run folder; study.json."""

import contextlib
import fcntl
import hashlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optuna.trial import TrialState
from torch import Tensor

from edgesearch.atomic import check_no_link, open_own, write_text
from edgesearch.errors import EdgesearchWarning
from edgesearch.pipeline.folder import RunFolder
from edgesearch.pipeline.measured import measured
from edgesearch.report.record import SUMMARY, Record, read_summary, write_record
from edgesearch.report.study import front
from edgesearch.search.configurations import Proposal
from edgesearch.search.programs import Point, chosen
from edgesearch.search.study import Study
from edgesearch.search.trained import Trained, parse_formats, weights_of
from edgesearch.search.tuning import Tuned, Tuning, at_widths, tuned_proposal
from edgesearch.training.callbacks import Row
from edgesearch.training.fit import Fitted


@dataclass(frozen=True)
class Program:
    """A program of the study: from which training, and from which fine-tuning if it is a tuned one."""

    trained: Trained
    point: Point
    tuned: Tuned | None = None

    @property
    def source(self) -> Trained:
        """Where weights, curve and formats are."""
        return self.trained if self.tuned is None else self.tuned.result


def programs(study: Study, tuning: Tuning) -> list[Program]:
    """Return every program that keeps the budget, fine-tuned ones included."""
    by_number = {t.number: t for t in study.trained()}
    found = [Program(t, p) for t in by_number.values() for p in t.points]
    found += [Program(by_number[t.source], t.point, t) for t in tuning.results() if t.source in by_number]
    return [program for program in found if program.point.fits(study.config.budget)]


def choose(found: list[Program], rows: int) -> tuple[Program, list[Program]]:
    """Return the best program (see `chosen`), and by growing flash those that no other one beats in flash and accuracy.

    Args:
        found: the programs to choose from.
        rows: of validation data.
    """
    by_point = {id(program.point): program for program in found}
    points = [program.point for program in found]
    return by_point[id(chosen(points, rows))], [by_point[id(point)] for point in front(points)]


def finish(study: Study, tuning: Tuning, folder: Path, seconds: float) -> dict[str, Any]:
    """Test the programs of the front, once each; write study.json and return it.

    Several processes may come here: one writes at a time, and a program that has been tested is not tested again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        found = programs(study, tuning)
        summary: dict[str, Any] = {"study": study.ledger.study.study_name, "best": None, "front": []}
        if found:
            rows = len(study.configurations.dataset(study.config.data).validation)
            best, line = choose(found, rows)
            records = {id(program): _tested(study, tuning, program, folder) for program in [*line, best]}
            summary |= {"best": records[id(best)], "front": [records[id(program)] for program in line]}
        counts = asdict(study.counts())
        del counts["running"]
        earlier = (read_summary(folder) or {}).get("seconds", 0.0)
        summary |= counts | {"seconds": round(earlier + seconds, 3)}
        write_text(folder / SUMMARY, json.dumps(summary, indent=1, allow_nan=False) + "\n")
    return summary


def _tested(study: Study, tuning: Tuning, program: Program, folder: Path) -> Record:
    """Return a program's record, testing it if that was not done before."""
    ledger, number = (study.ledger, program.trained.number)
    if program.tuned is not None:
        ledger, number = tuning.ledger, program.tuned.number
    proposal = _proposal(study, program)
    trial = next(t for t in ledger.trials(TrialState.COMPLETE) if t.number == number)
    weights = weights_of(trial, proposal.spec)
    run = RunFolder(folder / "programs" / _name(program, weights))
    check_no_link(folder, run.path)
    record = run.finished()
    if record is None:
        with run.locked():
            record = _measured(study, program, proposal, weights, run)
    return record


def _name(program: Program, weights: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(b"".join(weights[name].numpy().tobytes() for name in sorted(weights))).hexdigest()[:8]
    tuned = "-tuned" if program.tuned is not None else ""
    point = program.point
    return f"{program.trained.number}-{point.weight_bits}x{point.activation_bits}{tuned}-{digest}"


def _measured(study: Study, program: Program, proposal: Proposal, weights: dict[str, Tensor], run: RunFolder) -> Record:
    source = program.source
    history: list[Row] = [
        {"epoch": epoch, "phase": phase, f"val_{proposal.config.train.metric}": score, "train_loss": loss}
        for epoch, (phase, score, loss) in enumerate(source.curve)
    ]
    formats = parse_formats(source.formats)
    fitted = Fitted(weights, source.epoch, history, None, source.seconds, formats, source.overflows, source.ran)
    run.write_config(proposal.config)
    run.save_best(weights)
    record = measured(proposal.config, proposal.dataset, proposal.spec, fitted, run)
    if record["val_accuracy"]["integer"] != program.point.val_accuracy:
        warnings.warn(
            f"trial {program.trained.number} had {program.point.val_accuracy:.4f} on validation data where it was "
            f"trained, and has {record['val_accuracy']['integer']:.4f} here: another processor rounds differently",
            EdgesearchWarning,
            stacklevel=2,
        )
    record["wall_seconds"] = source.seconds
    record["data"]["content"] = study.configurations.content
    record |= {
        "trial": program.trained.number,
        "tuned": program.tuned is not None,
        "weight_bits": program.point.weight_bits,
        "activation_bits": program.point.activation_bits,
        "folder": str(run.path),
        "command": _command(study, program, proposal),
        "curve": source.curve,
    }
    write_record(run.path, record)
    return record


def _proposal(study: Study, program: Program) -> Proposal:
    if program.tuned is not None:
        return tuned_proposal(study, program.trained, program.point, program.tuned.settings)
    return at_widths(study.configurations.propose(program.trained.params), program.point)


def _command(study: Study, program: Program, proposal: Proposal) -> list[str]:
    """The commands that make the program again: training, and fine-tuning where it was tuned."""
    configurations, params = study.configurations, program.trained.params
    if program.tuned is None:
        return [configurations.command(proposal.config, params)]
    before = configurations.propose(params)
    finetune = program.tuned.settings
    run = configurations.rebuilt(before.config)
    bits = f"quant.weight_bits={program.point.weight_bits} quant.activation_bits={program.point.activation_bits}"
    settings = f"finetune.epochs={finetune.epochs} finetune.lr={finetune.lr}"
    return [
        configurations.command(before.config, params),
        f"python -m edgesearch task=finetune run={run} {bits} {settings}",
    ]


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with open_own(folder / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
