"""task=test: measure a finished run again, its program on every level: fake-quantised, interpreted and compiled."""

import numpy as np

from edgesearch.config import Config
from edgesearch.data.scores import Scores, majority_share
from edgesearch.errors import DifferenceError, ModelFileError
from edgesearch.export.layout import ram_bytes
from edgesearch.measure import answers_of
from edgesearch.measure.compiled import skipped, variants
from edgesearch.pipeline.doubts import (
    doubt_compilers,
    doubt_integers,
    doubt_majority,
    require_c,
    say,
    where_lost,
)
from edgesearch.pipeline.measured import by_class
from edgesearch.pipeline.program import Compiled, compared_in_c, fake_quant_answers, outcome
from edgesearch.pipeline.variant import Variant, load_variant, needs_program
from edgesearch.report.compression import metrics
from edgesearch.report.console import PlainConsole
from edgesearch.report.record import Record
from edgesearch.report.tables import confusion, summary

TOLERANCE = 0.005  # backends and processors round differently, which moves a handful of examples


def test(config: Config) -> Record:
    """Load the run that `config.run` names, measure its test accuracy and print it with the confusion matrix.

    The data set, cell and seed are the run's own; of the command line only `data.path`, `quantization`, `pruning` and
    `export` count. With a quantization or a pruning the model is what they make of it.

    Raises:
        ModelFileError: no finished run there, damaged weights, or another test accuracy than recorded.
        DifferenceError: the interpreter and a compiled variant differ in any operation.
        ToolError: export=c, the default, and no compiler here builds the C.
    """
    variant = load_variant(config)
    if variant.label != "float":
        needs_program(variant)
    record, dataset = variant.record, variant.dataset
    floats = answers_of(variant.model(), variant.inputs(on_test=True))
    if variant.label == "float":
        _check_recorded(record, "float", Scores.of(floats, dataset.test.y, dataset.classes).accuracy, TOLERANCE)
    console = PlainConsole()
    if variant.spec.bidirectional:
        record |= by_class(Scores.of(floats, dataset.test.y, dataset.classes))
        console.print(confusion(record))
        console.print(summary(record, str(variant.folder.path)))
        return record
    compiled = variant.compiled()
    error, test_rows = variant.config.quant.function_error, dataset.test
    integers, fake = outcome(compiled.program, test_rows).answers, fake_quant_answers(compiled, test_rows, error)
    levels = {
        level: Scores.of(answers, test_rows.y, dataset.classes)
        for level, answers in {"float": floats, "fake_quant": fake, "integer": integers}.items()
    }
    if variant.label == "float":
        _check_recorded(record, "integer", levels["integer"].accuracy, 0.0)
    if not np.array_equal(fake, integers):
        row = int(np.flatnonzero(fake != integers)[0])
        raise DifferenceError(
            f"the fake-quantised forward pass must answer as the program does, got {fake[row]} and {integers[row]} for "
            f"test row {row}; report it with the run folder"
        )
    say(doubt_compilers(skipped()))
    compared = compared_in_c(compiled.program, test_rows, variants())
    if compared:
        levels["c"] = levels["integer"]
    record["lost"] = where_lost(compiled, dataset, floats, integers, error)
    say(doubt_integers(record["lost"]))
    say(doubt_majority(levels["integer"], majority_share(test_rows.y), dataset.class_names))
    _print(console, variant, compiled, levels, compared)
    require_c(config, bool(compared))
    return record


def _check_recorded(record: Record, level: str, accuracy: float, tolerance: float) -> None:
    recorded = record["test_accuracy"][level]
    if abs(accuracy - recorded) > tolerance:
        raise ModelFileError(
            f"the run recorded a test accuracy of {recorded:.4f} ({level}), got {accuracy:.4f}; its data, weights or "
            "program have changed, train it again"
        )


def _print(
    console: PlainConsole, variant: Variant, compiled: Compiled, levels: dict[str, Scores], compared: list[str]
) -> None:
    record = variant.record
    record |= by_class(levels["integer"]) | {"majority_share": majority_share(variant.dataset.test.y)}
    for metric in levels["float"].every:
        record[f"test_{metric}"] = {level: scores.score(metric) for level, scores in levels.items()}
    record["variants"] = compared
    console.print(confusion(record))
    if variant.label == "float":
        console.print(summary(record, str(variant.folder.path)))
    else:
        console.print(metrics(variant.label, record, compiled.program.flash_bytes, ram_bytes(compiled.program)))
