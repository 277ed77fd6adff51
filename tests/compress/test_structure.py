"""Structured pruning: what is removed says nothing, so the smaller model answers as the masked one."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgesearch.cells.classifier import AnySpec, build_classifier
from edgesearch.cells.conv import ConvSpec
from edgesearch.cells.spec import KINDS, ModelSpec
from edgesearch.compress import calibrate
from edgesearch.compress.calibrate import choose_formats, observe
from edgesearch.compress.finetune import raw_graph
from edgesearch.compress.program import compile_program
from edgesearch.compress.structure import (
    HIDDEN,
    Structure,
    Weights,
    least,
    masked_weights,
    pruned_spec,
    pruned_weights,
    scores,
    whole,
)
from edgesearch.errors import ConfigError
from edgesearch.measure.compiled import compare, variants
from edgesearch.numerics.interpreter import input_integers
from edgesearch.numerics.program import IntegerProgram

RECURRENT = [
    ModelSpec(cell, 6, 5, 8, 3, wRank=w, uRank=u, gate_nonlinearity=None if cell == "fastrnn" else "sigmoid")
    for cell in KINDS
    for w, u in ((None, None), (3, 4))
]
CONVOLUTIONAL = [ConvSpec("lenet5", 9, 7, 4, 5, 6), ConvSpec("dscnn", 9, 7, 4, 5, blocks=2)]


def weights_of(spec: AnySpec, seed: int = 0) -> Weights:
    torch.manual_seed(seed)
    model = build_classifier(spec, "eager") if isinstance(spec, ModelSpec) else build_classifier(spec)
    for name, buffer in model.named_buffers():
        buffer.copy_(torch.rand_like(buffer) + (0.5 if name.endswith("var") else 0.0))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.4)
    return dict(model.state_dict())


def half(spec: AnySpec) -> Structure:
    generator = np.random.default_rng(1)
    kept = {}
    for layer, units in whole(spec).kept.items():
        count = max(least(spec)[layer], len(units) // 2)
        kept[layer] = tuple(sorted(int(u) for u in generator.choice(units, count, replace=False)))
    return Structure(kept)


def answers(spec: AnySpec, weights: Weights, x: torch.Tensor) -> torch.Tensor:
    model = build_classifier(spec)
    model.load_state_dict(weights)
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(x)
        return logits


@pytest.mark.parametrize("spec", [*RECURRENT, *CONVOLUTIONAL], ids=str)
def test_the_smaller_model_answers_as_the_masked_one(spec: AnySpec) -> None:
    weights, structure = weights_of(spec), half(spec)
    small = pruned_spec(spec, structure)
    assert small.parameters < spec.parameters
    x = torch.randn(spec.steps, 20, spec.input_size)
    removed = answers(small, pruned_weights(spec, weights, structure), x)
    masked = answers(spec, masked_weights(spec, weights, structure), x)
    torch.testing.assert_close(removed, masked, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(masked, answers(spec, weights, x))


def program(spec: AnySpec, weights: Weights, raw: torch.Tensor, like: IntegerProgram | None) -> IntegerProgram:
    """Compile; `like` gives the formats."""
    model = build_classifier(spec)
    model.load_state_dict(weights)
    D = spec.input_size
    graph = raw_graph(model.eval(), spec.steps, torch.zeros(D), torch.ones(D))
    if like is None:
        formats = choose_formats(graph, observe(graph, [raw]), calibrate.Widths(8, 16))
    else:
        formats = {name: like.format(name) for name in (*like.values, *like.constants)}
    return compile_program(graph, formats, 1e-3)


def check_integers(spec: AnySpec, structure: Structure, seed: int) -> None:
    """The masked and the smaller program give the same logits, and the smaller one's C does."""
    weights = weights_of(spec, seed)
    raw = torch.randn(spec.steps, 30, spec.input_size, generator=torch.Generator().manual_seed(seed))
    masked = program(spec, masked_weights(spec, weights, structure), raw, None)
    small = program(pruned_spec(spec, structure), pruned_weights(spec, weights, structure), raw, masked)
    x = input_integers(masked, raw.double().numpy())
    np.testing.assert_array_equal(small.run(x).logits, masked.run(x).logits)
    compare(small, x, variants()[:1])


@pytest.mark.parametrize("spec", [RECURRENT[0], RECURRENT[3], RECURRENT[9], *CONVOLUTIONAL], ids=str)
def test_the_smaller_program_answers_as_the_masked_one(spec: AnySpec) -> None:
    check_integers(spec, half(spec), 0)


@st.composite
def pruned_networks(draw: st.DrawFn) -> tuple[ConvSpec, Structure]:
    spec = ConvSpec(
        draw(st.sampled_from(["lenet5", "dscnn"])), draw(st.integers(1, 12)), draw(st.integers(1, 10)), 3,
        draw(st.integers(1, 5)), draw(st.integers(1, 7)), draw(st.integers(1, 2)),
    )  # fmt: skip
    kept = {}
    for layer, units in whole(spec).kept.items():
        left = draw(st.sets(st.sampled_from(units), min_size=1))
        if draw(st.booleans()):
            kept[layer] = tuple(sorted(left))
    return spec, Structure(kept)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pruned_networks(), st.integers(0, 9))
def test_any_pruning_of_any_network_is_exact(network: tuple[ConvSpec, Structure], seed: int) -> None:
    check_integers(*network, seed)


def test_units_that_weigh_little_have_low_scores() -> None:
    specs: list[AnySpec] = [*CONVOLUTIONAL, RECURRENT[0], RECURRENT[3]]
    for spec in specs:
        weights = weights_of(spec)
        structure = whole(spec)
        layer = next(iter(structure.kept))
        kept = Structure({**structure.kept, layer: structure.kept[layer][1:]})
        found = scores(spec, masked_weights(spec, weights, kept))
        assert int(found[layer].argmin()) == 0
        for norms in scores(spec, weights).values():
            assert float(norms.square().mean()) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("kept", [{"K9": (0,)}, {"K1": (0, 7)}, {"K1": ()}, {"K1": (1, 1)}, {HIDDEN: (0,)}])
def test_a_pruning_of_another_model_is_refused(kept: dict[str, tuple[int, ...]]) -> None:
    spec = CONVOLUTIONAL[0]
    with pytest.raises(ConfigError, match="run task=prune again"):
        pruned_weights(spec, weights_of(spec), Structure(kept))


def test_layers_on_top_of_each_other_have_no_units_of_their_own() -> None:
    with pytest.raises(ConfigError, match="train one layer"):
        whole(ModelSpec("lstm", 5, 3, 4, 2, num_layers=2))
