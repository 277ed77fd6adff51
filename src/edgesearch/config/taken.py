"""Which keys each task takes, and what to say of an override that a task would leave unread."""

from collections.abc import Mapping, Sequence

from edgesearch.errors import ConfigError

_MODEL = ("seed", "data", "cell", "schedule", "train", "quant", "budget")  # what a finished run brings along
_CHECKED = ("task", "run", "study", "quantization", "pruning")  # `checks` has a rule for each
_ALWAYS = (
    *_CHECKED, "outputs_dir", "progress", "logger", "data.path", "train.device", "train.threads",
    "train.checkpoint_seconds",
)  # fmt: skip
TAKEN: dict[str, tuple[str, ...]] = {
    "train": (*_MODEL, "experiment"),
    "search": (*_MODEL, "experiment", "search", "finetune"),
    "compress": (*_MODEL, "experiment", "finetune", "prune", "export.name"),
    "test": ("export.name",),
    "quantize": (
        "export.name", "quant.error_margin", "quant.range", "quant.function_error", "quant.calibration_rows",
    ),
    "prune": ("prune",),
    "profile": (),
    "finetune": ("finetune", "quant", "export.name"),
    "export": ("export", "pick"),
    "show": (),
    "secure": ("secure",),
    "report": ("search",),
    "approximate": ("function", "error", "approximate"),
}  # fmt: skip
_OF_A_RUN = ("test", "quantize", "prune", "profile", "finetune", "export", "show", "secure")


def unread(task: str, overrides: Mapping[str, str]) -> list[str]:
    """Return warnings of overrides, by key, that `task` does not read.

    Raises:
        ConfigError: a key that a finished run brings along, of a task that works on one.
    """
    left = [key for key in overrides if not _in(key, _ALWAYS) and not _takes(task, key)]
    for key in left:
        if task in _OF_A_RUN and _in(key, _MODEL):
            others = _takers(key, _OF_A_RUN)
            raise ConfigError(
                f"task={task} takes {_group(key)} from the run that it works on, got {overrides[key]}; leave it out"
                f"{f' or set task={others[0]}' if others else ', or train another run with it'}"
            )
    users = {key: _takers(key, TAKEN) for key in left}
    return [
        f"task={task} does not use {overrides[key]}, which {', '.join(f'task={other}' for other in others)} "
        f"{'does' if len(others) == 1 else 'do'}; leave it out"
        for key, others in users.items()
    ]


def _takers(key: str, tasks: Sequence[str] | dict[str, tuple[str, ...]]) -> list[str]:
    return [task for task in tasks if _takes(task, key)]


def _group(key: str) -> str:
    return key.partition(".")[0]


def _takes(task: str, key: str) -> bool:
    """Whether a task takes a key, or a part of a group."""
    return _in(key, TAKEN[task]) or key in map(_group, TAKEN[task])


def _in(key: str, names: Sequence[str]) -> bool:
    """Whether a key is one of the names or within one."""
    return any(key == name or key.startswith(f"{name}.") for name in names)
