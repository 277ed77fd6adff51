"""What a training takes of this machine's memory: configuration, spec and numbers of rows in, bytes or one line out.

An estimate from above by a small factor, made before anything is allocated.
"""

import contextlib
import copy
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from edgesearch.cells.classifier import AnySpec, classifier_spec
from edgesearch.cells.conv import ConvSpec
from edgesearch.config import Config
from edgesearch.errors import ConfigError, MemoryLimitError

_COPIES = 10  # of the weights: gradient, two moments, the best epoch's, a checkpoint on its way to the disk
_KEPT = 6  # arrays of a value and step for the backward pass: products, sums, function values, gradients
_FORWARD = 2
_ROWS = 1024  # windows at once where answers are counted
_REFUSED = "can't allocate memory"  # as torch says it on the CPU
_CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of weights with what belongs to them, of a training batch, and of the largest forward pass beside it."""

    weights: int
    batch: int
    evaluation: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.batch + self.evaluation


def training_memory(config: Config, spec: AnySpec, rows: int, validation_rows: int) -> TrainingMemory:
    """Return what training `spec` takes with so many training and validation rows.

    A batch is cut to the rows there are; the whole validation split goes forward at once.
    """
    fixed = config.train.arithmetic == "fixed"
    number = 8 if fixed else 4
    batch = min(config.train.batch_size, rows)
    together = max(validation_rows, min(rows, max(_ROWS, min(config.quant.calibration_rows, rows))))
    values = _values(spec)
    return TrainingMemory(
        number * _COPIES * spec.parameters, number * _KEPT * batch * values, number * _FORWARD * together * values
    )


def check_memory(config: Config, spec: AnySpec, rows: int, validation_rows: int) -> None:
    """Raise `ConfigError` if training takes more memory than is free here.

    Raises:
        ConfigError: with a size that fits.
    """
    needed, free = training_memory(config, spec, rows, validation_rows), free_bytes(config.train.device)
    if free is not None and needed.total > free:
        raise ConfigError(
            f"a training must fit into the memory that is free, {_text(free)}, got about {_text(needed.total)}; "
            f"{_remedy(config, spec, rows, validation_rows, free)}"
        )


def check_processes(count: int, bytes_each: int) -> None:
    """Raise `ConfigError` if so many processes do not fit into the memory that is free."""
    free = free_bytes("cpu")
    if free is not None and count > 1 and count * bytes_each > free:
        raise ConfigError(
            f"search.workers processes of about {_text(bytes_each)} each must fit into the memory that is free, "
            f"{_text(free)}, got {count}; set search.workers={max(1, free // bytes_each)}"
        )


@contextlib.contextmanager
def memory_errors(keys: str) -> Iterator[None]:
    """Turn an allocation that this machine refuses, by Python, numpy or torch, into one line naming what to lower.

    Raises:
        MemoryLimitError: it refused one.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and _REFUSED not in str(error):
            raise
        raise MemoryLimitError(
            f"this must fit into the machine's memory, got an allocation that was refused; lower {keys}"
        ) from error


def free_bytes(device: str) -> int | None:
    """Return how much memory a process may still take, None where the system does not say."""
    if device != "cpu" and torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    limits = [_cgroup(limit, used) for limit, used in _CGROUPS]
    return min((free for free in (_system(), *limits) if free is not None), default=None)


def _system() -> int | None:
    """What Linux calls available, or else the machine's pages."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):  # (a system that has no such names)
        return None


def _cgroup(limit: Path, used: Path) -> int | None:
    try:
        return int(limit.read_text(encoding="ascii")) - int(used.read_text(encoding="ascii"))
    except (OSError, ValueError):  # (no such group, or `max`)
        return None


def _values(spec: AnySpec) -> int:
    """Numbers that one window passes through: of every layer, step and gate."""
    if isinstance(spec, ConvSpec):
        return spec.steps * spec.input_size + sum(stage.size for stage in spec.stages)
    width = spec.directions * spec.hidden_size
    each = (spec.kind.blocks + spec.kind.states) * width + (spec.wRank or 0) + (spec.uRank or 0)
    return spec.steps * (spec.input_size + spec.num_layers * each)


_SIZES = ("train.batch_size", "cell.hidden_size", "cell.channels", "cell.num_layers")


def _remedy(config: Config, spec: AnySpec, rows: int, validation_rows: int, free: int) -> str:
    """The largest size of those that can be halved until all fits."""
    remedies: dict[int, str] = {}
    for path in _SIZES:
        smaller = copy.deepcopy(config)
        group, name = getattr(smaller, path.split(".")[0]), path.split(".")[1]
        value = min(getattr(group, name) or 0, rows if name == "batch_size" else 1 << 62)
        for count in range(value.bit_length()):
            setattr(group, name, value >> count)
            with contextlib.suppress(ConfigError):  # (a rank above what is left of the matrix)
                made = classifier_spec(
                    smaller.cell, smaller.schedule, steps=spec.steps, input_size=spec.input_size, classes=spec.classes
                )
                if training_memory(smaller, made, rows, validation_rows).total <= free:
                    remedies.setdefault(value, f"set {path}={value >> count}")
    return remedies[max(remedies)] if remedies else "lower the sizes of the cell and train.batch_size"


def _text(size: int) -> str:
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{size / 2**20:.0f} MB"
