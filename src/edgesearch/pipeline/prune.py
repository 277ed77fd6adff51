"""task=prune: kernels, neurons and hidden units of a finished run, those that weigh least, removed."""

from omegaconf import OmegaConf

from edgesearch.atomic import write_text
from edgesearch.compress.structure import Structure, least, scores, whole
from edgesearch.config import Config
from edgesearch.errors import ConfigError
from edgesearch.pipeline.program import outcome
from edgesearch.pipeline.variant import PRUNING, Variant, load_variant, needs_program, with_structure
from edgesearch.report.compression import removed
from edgesearch.report.console import PlainConsole
from edgesearch.report.record import Record

_PART = 40  # a fortieth of the units at once, as long as accuracy allows; then one by one
_MISSES = 10  # units in a row that have to stay, after which the rest is not tried


def prune(config: Config) -> Record:
    """Remove units of the run that `config.run` names as long as `prune.error_margin` allows; write RUN/pruning.yml.

    Accuracy, or what else the run's `train.metric` says, is that of the float model on validation rows, or of the
    integer program where `config.quantization` is given.

    Raises:
        ModelFileError: no finished run there.
        ConfigError: a model whose units cannot be removed.
    """
    if config.pruning is not None:
        raise ConfigError(
            "task=prune makes a pruning, it takes none; leave pruning out, or prune the run it was made of"
        )
    variant = load_variant(config)
    if config.quantization is not None:
        needs_program(variant)
    start = whole(variant.spec)
    before = _accuracy(variant)
    structure, after = _pruned(variant, start, before - config.prune.error_margin / 100)
    layers = {}
    for layer, units in start.kept.items():
        kind = "hidden units" if layer == "hidden" else "neurons" if layer[0] == "F" else "kernels"
        layers[layer] = {"type": kind, "pruned": len(units) - len(structure.kept[layer]), "total": len(units)}
    written = {
        "cell": variant.spec.cell,
        "quantization": config.quantization,
        "error_margin": config.prune.error_margin,
        "metric": variant.config.train.metric,
        "accuracy_before": before,
        "accuracy": after,
        "parameters_before": variant.spec.parameters,
        "parameters": with_structure(variant, structure).spec.parameters,
        "layers": layers,
        "kept": {layer: list(units) for layer, units in structure.kept.items()},
    }
    path = variant.folder.path / PRUNING
    write_text(path, OmegaConf.to_yaml(OmegaConf.create(written)))
    console = PlainConsole()
    console.print(removed(written))
    console.print(f"written to {path}", soft_wrap=True)
    return variant.record


def _pruned(variant: Variant, structure: Structure, lowest: float) -> tuple[Structure, float]:
    """Return the smallest structure on the way down whose accuracy is at least `lowest`, and that accuracy."""
    found = scores(variant.spec, variant.weights)
    order = sorted(
        (float(score), layer, unit) for layer, units in found.items() for unit, score in enumerate(units.tolist())
    )
    smallest, reached = least(variant.spec), _accuracy(variant)
    part, at, misses = max(1, len(order) // _PART), 0, 0
    while at < len(order) and misses < _MISSES:
        tried = structure
        for _, layer, unit in order[at : at + part]:
            if len(tried.kept[layer]) > smallest[layer]:
                tried = tried.without(layer, unit)
        accuracy = reached if tried == structure else _accuracy(with_structure(variant, tried))
        if accuracy >= lowest:
            structure, reached, at, misses = tried, accuracy, at + part, 0
        elif part > 1:
            part = 1
        else:
            at, misses = at + 1, misses + 1
    return structure, reached


def _accuracy(variant: Variant) -> float:
    """Score of the program if it is quantised, else of the float model; on validation rows."""
    if "quantized" not in variant.label:
        return variant.evaluated(on_test=False).score(variant.config.train.metric)
    return variant.score(outcome(variant.compiled().program, variant.dataset.validation).answers)
