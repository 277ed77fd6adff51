"""task=show: a finished run's integer program, for reading."""

from pathlib import Path

from edgesearch.config import Config
from edgesearch.errors import ModelFileError
from edgesearch.numerics.listing import listing
from edgesearch.pipeline.folder import RunFolder
from edgesearch.plain import printable
from edgesearch.report.record import Record


def show(config: Config) -> Record:
    """Print the program of the run that `config.run` names.

    Raises:
        ModelFileError: no finished run with a program there.
    """
    folder, record = finished_run(config)
    print(printable(listing(folder.program()), keep="\n"))
    return record


def finished_run(config: Config) -> tuple[RunFolder, Record]:
    """Return the folder and record that `config.run` names.

    Raises:
        ModelFileError: it is no finished run.
    """
    folder = RunFolder(Path(str(config.run)))
    record = folder.finished()
    if record is None:
        raise ModelFileError(f"run must be the folder of a finished run, got {folder.path}; see outputs/DATA/CELL/HASH")
    return folder, record
