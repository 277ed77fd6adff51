"""Rules over a typed config: ranges of single keys first, then pairs that contradict each other."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from edgesearch.config.rules import Rule, shown
from edgesearch.config.schema import Config
from edgesearch.errors import ConfigError

_FRAMES, _OVERLAPPING = 10_000, 600_000  # of a clip: windows, and their milliseconds


def check(config: Config) -> None:
    """Raise `ConfigError` naming the first broken rule, the value and an override that satisfies it."""
    for path, rule, value in _keys(config):
        broken = None if value is None else rule.broken_by(value)
        if isinstance(value, str) and "${" in value:
            raise ConfigError(f"{path} must be a value of its own, got {shown(value)}; leave ${{ out of it")
        if broken:
            raise ConfigError(f"{path} must be {broken}, got {shown(value)}; set {path}={rule.remedy(value)}")
    for contradiction in _CONTRADICTIONS:
        message = contradiction(config)
        if message:
            raise ConfigError(message)


def _keys(node: Any, prefix: str = "") -> Iterator[tuple[str, Rule, Any]]:
    for item in dataclasses.fields(node):
        value, path, rule = getattr(node, item.name), f"{prefix}{item.name}", item.metadata["rule"]
        if dataclasses.is_dataclass(value):
            yield from _keys(value, f"{path}.")
            continue
        yield path, rule, value
        if isinstance(value, dict):
            yield from ((f"{path}.{name}", rule, entry) for name, entry in value.items())


def _convolutional(config: Config) -> str | None:
    cell = config.cell
    if cell.name not in ("lenet5", "dscnn"):
        if cell.kept is not None:
            return f"cell.kept belongs to lenet5 and dscnn, got it for cell={cell.name}; set cell.hidden_size instead"
        if cell.channels is None:
            return None
        return (
            f"cell.channels belongs to lenet5 and dscnn, got {cell.channels} for cell={cell.name}; "
            "set cell.channels=null"
        )
    if cell.channels is None:
        return f"cell={cell.name} needs cell.channels, got null; set cell.channels=8"
    for name, plain in (("wRank", None), ("uRank", None), ("gate_nonlinearity", None), ("bidirectional", False)):
        if getattr(cell, name) != plain:
            return (
                f"cell.{name} belongs to recurrent cells, got {getattr(cell, name)} for cell={cell.name}; "
                f"set cell.{name}={str(plain).lower().replace('none', 'null')}"
            )
    return None


def _gate(config: Config) -> str | None:
    cell = config.cell
    if cell.name in ("lenet5", "dscnn"):
        return None
    if cell.name == "fastrnn" and cell.gate_nonlinearity is not None:
        return (
            f"cell.gate_nonlinearity must be null for cell=fastrnn, which has no gate, got {cell.gate_nonlinearity}; "
            "set cell.gate_nonlinearity=null"
        )
    if cell.name != "fastrnn" and cell.gate_nonlinearity is None:
        return (
            f"cell={cell.name} has gates and needs cell.gate_nonlinearity, got null; set cell.gate_nonlinearity=sigmoid"
        )
    return None


def _reset(config: Config) -> str | None:
    cell = config.cell
    if (cell.reset_after is not None) == (cell.name == "gru"):
        return None
    value = "true" if cell.name == "gru" else "null"
    return (
        f"cell.reset_after is true or false for cell=gru and null for every other cell, got {cell.reset_after} "
        f"with cell={cell.name}; set cell.reset_after={value}"
    )


def _dropout(config: Config) -> str | None:
    if config.cell.dropout > 0 and config.cell.num_layers == 1 and config.cell.channels is None:
        return (
            f"cell.dropout acts between layers and needs cell.num_layers >= 2, got {config.cell.dropout:g} with one "
            "layer; set cell.dropout=0"
        )
    return None


def _dense(config: Config) -> str | None:
    schedule = config.schedule
    if schedule.name != "dense":
        return None
    for name in ("sparsity", "wSparsity", "uSparsity"):
        value = getattr(schedule, name)
        if value:
            return f"schedule=dense cuts no weights, got schedule.{name}={value:g}; set schedule=three_phase"
    return None


def _augmentation(config: Config) -> str | None:
    data = config.data
    if data.augment and not (data.shift_steps or data.shift_features or data.noise):
        return (
            "data.augment=true needs data.shift_steps, data.shift_features or data.noise above zero, got none of them; "
            "set data.augment=false"
        )
    return None


def _features(config: Config) -> str | None:
    features = config.data.features
    if features is None:
        return None
    if features.kind == "mfcc" and features.coefficients > features.bands:
        return (
            f"data.features.coefficients must be at most data.features.bands = {features.bands}, got "
            f"{features.coefficients}; set data.features.coefficients={features.bands}"
        )
    frames = 1 + max(0.0, 1000 * features.seconds - features.window_ms) // features.hop_ms
    if frames > _FRAMES or frames * features.window_ms > _OVERLAPPING:
        return (
            f"data.features must make at most {_FRAMES} frames of a clip, whose windows last at most "
            f"{_OVERLAPPING // 1000} s together, got {frames:.0f} of {features.window_ms:g} ms; "
            "set data.features.hop_ms=20"
        )
    if features.window_ms > 1000 * features.seconds:
        return (
            f"data.features.window_ms must be at most the clip's {1000 * features.seconds:g} ms, got "
            f"{features.window_ms:g}; set data.features.window_ms=25"
        )
    return None


def _firmware(config: Config) -> str | None:
    budget = config.budget
    for name, limit, kept in (
        ("flash", budget.flash_bytes, budget.firmware_flash_bytes),
        ("ram", budget.ram_bytes, budget.firmware_ram_bytes),
    ):
        if limit is not None and kept >= limit:
            return (
                f"budget.firmware_{name}_bytes must be less than budget.{name}_bytes = {limit}, got {kept}: the limit "
                f"is the whole chip's, and the firmware keeps a part; for {limit} bytes of model set "
                f"budget.{name}_bytes={limit + kept} or budget.firmware_{name}_bytes=0"
            )
    return None


def _fixed(config: Config) -> str | None:
    train, cell = config.train, config.cell
    if train.arithmetic == "float":
        if train.rounding == "nearest":
            return None
        return f"train.rounding belongs to fixed point, got {train.rounding} in floats; set train.arithmetic=fixed"
    for holds, rule, remedy in (
        (cell.channels is None, f"recurrent cells, got cell={cell.name}", "cell=lstm"),
        (not cell.bidirectional, "one direction, got cell.bidirectional=true", "cell.bidirectional=false"),
        (cell.dropout == 0, f"layers without dropout, got {cell.dropout:g}", "cell.dropout=0"),
        (train.weight_decay == 0, f"weights without decay, got {train.weight_decay:g}", "train.weight_decay=0"),
        (train.lr <= 1, f"learning rates up to 1, got {train.lr:g}", "train.lr=0.01"),
        (
            train.clip_norm is None or 1e-4 <= train.clip_norm <= 1e4,
            f"clipping between 0.0001 and 10000, got {train.clip_norm or 0:g}",
            "train.clip_norm=1",
        ),
        (train.device != "cuda", "the CPU, got train.device=cuda", "train.device=cpu"),
        (
            config.schedule.quantize_from is None,
            f"the program's numbers from the start, got quantize_from={config.schedule.quantize_from}",
            "schedule.quantize_from=null",
        ),
        (
            config.quant.activation_bits >= 12,
            f"at least 12 bits of activations, got {config.quant.activation_bits}",
            "quant.activation_bits=16",
        ),
    ):
        if not holds:
            return f"train.arithmetic=fixed is for {rule}; set {remedy}"
    return None


def _run_folder(config: Config) -> str | None:
    task = config.task.name
    takes_run = task not in ("train", "compress", "search", "report", "approximate")
    if not takes_run and config.run is not None:
        return f"run names a finished run, which task={task} does not take, got run={config.run}; set task=test"
    if takes_run and config.run is None and not (task == "export" and config.study is not None):
        return f"task={task} needs the folder of a finished run, got run=null; set run=outputs/DATA/CELL/HASH"
    return None


def _files(config: Config) -> str | None:
    task = config.task.name
    takers = ("test", "quantize", "prune", "profile", "finetune")
    if (config.quantization or config.pruning) and task not in takers:
        return f"{', '.join(takers)} take quantization and pruning, got task={task}; leave them out"
    return None


def _study(config: Config) -> str | None:
    task = config.task.name
    if task == "report" and config.study is None:
        return "task=report needs the name of a study, got study=null; set study=NAME, as task=search printed it"
    if config.study is not None and task not in ("report", "export"):
        name = "search.study" if task == "search" else "task"
        value = config.study if task == "search" else "report"
        return f"study names a study for task=report and task=export, got task={task}; set {name}={value}"
    if config.study is not None and config.run is not None:
        return f"study and run both name what to export, got study={config.study} run={config.run}; leave one out"
    if config.pick != "best" and not (config.pick.isdecimal() and len(config.pick) < 16 and int(config.pick) > 0):
        return f"pick must be best or a number of bytes, got {config.pick}; set pick=best"
    return None


def _approximate(config: Config) -> str | None:
    chosen = config.approximate
    if config.task.name != "approximate":
        return None
    if (chosen.low is None) != (chosen.high is None):
        missing = "low" if chosen.low is None else "high"
        return f"approximate.low and approximate.high go together, got only one; set approximate.{missing} too"
    if chosen.low is not None and chosen.high is not None and chosen.low >= chosen.high:
        return (
            f"approximate.low must be less than approximate.high = {chosen.high:g}, got {chosen.low:g}; exchange them"
        )
    return None


def _tags(config: Config) -> str | None:
    tags = config.logger.tags
    if all(isinstance(tag, str) for tag in tags):
        return None
    return f"logger.tags must hold texts, got {shown(tags)}; set logger.tags=[mine]"


def _search(config: Config) -> str | None:
    search = config.search
    for name in ("weight_bits", "activation_bits"):
        if not getattr(search, name):
            return f"search.{name} must name at least one width, got none; set search.{name}=[8]"
    if search.study is not None and (
        not search.study or any(c in search.study for c in "/\\\0") or search.study[0] == "."
    ):
        return f"search.study must be a name that a folder can have, got {search.study}; set search.study=usps10"
    return None


def _both_ways(config: Config) -> str | None:
    """What makes integer programs, of which a model that runs both ways has none."""
    if not config.cell.bidirectional:
        return None
    task = config.task.name
    if task in ("search", "compress"):
        return f"a bidirectional model has no integer program for task={task}; set cell.bidirectional=false"
    if config.schedule.quantize_from is not None:
        return "a bidirectional model has no integer program to train in; set schedule.quantize_from=null"
    return None


def _prefix(config: Config) -> str | None:
    if config.export.prefix == "model" or config.export.name == "c":
        return None
    return f"export.prefix belongs to export=c, got {config.export.prefix} for {config.export.name}; leave it out"


_CONTRADICTIONS: tuple[Callable[[Config], str | None], ...] = (
    _convolutional,
    _gate,
    _reset,
    _dropout,
    _dense,
    _augmentation,
    _features,
    _firmware,
    _fixed,
    _run_folder,
    _files,
    _study,
    _approximate,
    _both_ways,
    _search,
    _prefix,
    _tags,
)
