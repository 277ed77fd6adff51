"""Run folders: where a run lives, whose it is just now, and what it left behind."""

import contextlib
import fcntl
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from edgesearch.atomic import check_no_link, open_own, write_bytes, write_text
from edgesearch.cells.checkpoints import read_checkpoint
from edgesearch.config import Config, config_hash, load_config
from edgesearch.errors import ConfigError, ModelFileError, RunInUseError
from edgesearch.export import export_c
from edgesearch.export.c import left_behind
from edgesearch.export.files import check_folder
from edgesearch.numerics.program import IntegerProgram
from edgesearch.numerics.storage import load, save
from edgesearch.report.record import Record, read_record
from edgesearch.untrusted.arrays import SMALL
from edgesearch.untrusted.files import DamagedError, opened


class RunFolder:
    """The files of one run, outputs/DATA/CELL/HASH."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, config: Config, content: str | None) -> "RunFolder":
        """Return the folder that belongs to a config; `content` is the digest of the user's own data files."""
        return cls(Path(config.outputs_dir) / config.data.name / config.cell.name / config_hash(config, content))

    @property
    def checkpoints(self) -> Path:
        """The folder of last.ckpt and best.ckpt."""
        return self.path / "checkpoints"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; the lock goes with the process, however it ends.

        Raises:
            RunInUseError: another process holds it.
            ModelFileError: one of its folders is a link.
        """
        for inner in (self.checkpoints, self.path / "export" / "c"):
            check_no_link(self.path, inner)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        with open_own(self.path / ".lock") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunInUseError(
                    f"a run folder belongs to one process at a time, and another one is working in {self.path}; "
                    "wait for it or change a setting"
                ) from error
            yield

    def finished(self) -> Record | None:
        """Return the record if the run is finished."""
        record = read_record(self.path)
        return record if record is not None and record["status"] == "finished" else None

    def write_config(self, config: Config) -> None:
        """Write config.yaml."""
        write_text(self.path / "config.yaml", OmegaConf.to_yaml(OmegaConf.structured(config)))

    def config(self) -> Config:
        """Read config.yaml back."""
        return load_config(self.path / "config.yaml")

    def save_best(self, state_dict: dict[str, Tensor]) -> None:
        """Write checkpoints/best.ckpt, the chosen epoch's weights."""
        buffer = io.BytesIO()  # (torch takes a full disk for a fault of its own)
        torch.save({"state_dict": state_dict}, buffer)
        write_bytes(self.checkpoints / "best.ckpt", buffer.getvalue())

    def check_export(self) -> None:
        """See that the C folder can be written when the training is done.

        Raises:
            ConfigError: it holds something that no export wrote.
        """
        check_folder(self.path / "export" / "c", left_behind())

    def save_program(self, program: IntegerProgram) -> str:
        """Write program.npz and its C folder, export/c; return the digest of program.npz."""
        save(program, self.path / "program.npz")
        export_c(program, self.path / "export" / "c")
        return self._program_digest()

    def _program_digest(self) -> str:
        path = self.path / "program.npz"
        try:
            with opened(path, SMALL) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except DamagedError as error:
            raise ModelFileError(f"{path} is damaged ({error}); train the run again") from error

    def program(self) -> IntegerProgram:
        """Read the run's program.

        Raises:
            ConfigError: the run has none.
            ModelFileError: the file is missing, damaged, of another version, or not the one that was measured.
        """
        record = self.finished() or {}
        if "program_sha256" not in record:
            raise ConfigError(
                f"the run in {self.path} has no integer program, as its cell runs both ways; set export=onnx"
            )
        program = load(self.path / "program.npz")
        if self._program_digest() != record["program_sha256"]:
            raise ModelFileError(f"{self.path}/program.npz is not the program that was measured; train the run again")
        return program

    def load_best(self, model: nn.Module) -> None:
        """Load the chosen weights into `model`.

        Raises:
            ModelFileError: the file is missing, damaged or of another model.
        """
        try:
            model.load_state_dict(self.best())
        except RuntimeError as error:
            raise ModelFileError(f"{self.path} holds another model's weights; run its training again") from error

    def best(self) -> dict[str, Tensor]:
        """Return the chosen weights, without unpickling anything but tensors.

        Raises:
            ModelFileError: the file is missing or damaged.
        """
        path = self.checkpoints / "best.ckpt"
        try:
            found = read_checkpoint(path).get("state_dict")
            if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
                raise DamagedError("it holds no weights")
            return found
        except FileNotFoundError as error:
            raise ModelFileError(f"a finished run has {path}, which is missing; run its training again") from error
        except (DamagedError, OSError) as error:
            raise ModelFileError(f"{path} is damaged ({error}); run its training again") from error
