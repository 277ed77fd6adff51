"""task=secure: a finished run's program over secret shares of model and data, against the interpreter."""

import json
from typing import Any

import numpy as np

from edgesearch.atomic import write_text
from edgesearch.config import Config
from edgesearch.config.schema import SecureConfig
from edgesearch.export.files import write_folder
from edgesearch.export.secure import LEFT_BEHIND, data, secure_files
from edgesearch.measure.secure import PACKAGE, PARTIES, SecureRun, check_logits, environment, run_secure
from edgesearch.numerics.interpreter import run
from edgesearch.pipeline.program import integers
from edgesearch.pipeline.variant import load_variant
from edgesearch.report.console import PlainConsole
from edgesearch.report.record import Record
from edgesearch.report.secure import over_shares


def secure(config: Config) -> Record:
    """Run test windows of the run that `config.run` names through SPU; write RUN/export/secure with secure.json.

    Raises:
        ModelFileError: no finished run there, or other data than it was trained on.
        ConfigError: a run without an integer program, or no environment with SPU.
        ToolError: SPU failed, or its environment could not be made.
        SecretDifferenceError: a logit differs from the interpreter's.
    """
    settings = config.secure
    variant = load_variant(config)
    program = variant.folder.program()
    python = environment(settings.install)
    split = variant.dataset.test
    split = split.take(np.arange(min(settings.rows, len(split))))
    x = integers(program, split)
    expected = run(program, x)
    folder = variant.folder.path / "export" / "secure"
    write_folder(folder, secure_files(program) | {"data.npz": data(program, x)}, LEFT_BEHIND)
    batch, runs = min(settings.batch, len(split)), []
    for protocol in PARTIES if settings.protocol == "both" else (settings.protocol,):
        found = run_secure(python, folder, protocol, len(split), batch, processes=settings.processes)
        check_logits(found.logits, expected.logits, protocol)
        accuracy = float((found.logits.argmax(axis=1) == split.y).mean())
        runs.append(_described(protocol, found, settings) | {"batch": batch, "accuracy": accuracy})
    write_text(folder / "secure.json", json.dumps({"package": PACKAGE, "runs": runs}, indent=2))
    console = PlainConsole()
    console.print(over_shares(runs))
    console.print(f"written to {folder / 'secure.json'}", soft_wrap=True)
    return variant.record


def _described(protocol: str, found: SecureRun, settings: SecureConfig) -> dict[str, Any]:
    """What secure.json says of a run whose logits were all right; `SecureRun` says what each figure is."""
    rows = len(found.logits)
    return {
        "protocol": protocol,
        "parties": PARTIES[protocol],
        "processes": settings.processes,
        "rows": rows,
        "logits": found.logits.size,
        "differing": 0,
        "seconds": found.seconds,
        "seconds_per_inference": found.seconds / rows,
        "compile_seconds": found.compile_seconds,
        "rounds": found.rounds,
        "sent_bytes": found.sent_bytes,
        "bytes_per_inference": round(found.sent_bytes / rows),
        "shared_bytes": found.shared_bytes,
    }
