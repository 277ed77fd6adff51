"""A graph with formats becomes an `IntegerProgram`."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from edgesearch.compress.calibrate import choose_tables
from edgesearch.compress.graph import INPUT, Graph
from edgesearch.numerics.format import Format
from edgesearch.numerics.program import Constant, IntegerProgram, Value


def compile_program(
    graph: Graph,
    formats: Mapping[str, Format],
    function_error: float,
    about: Mapping[str, str] | None = None,
    class_names: tuple[str, ...] = (),
) -> IntegerProgram:
    """Return the program of a graph whose formats are chosen, with its parameters as integers."""
    constants = {
        name: Constant(
            formats[name].integers(_shaped(graph.numbers(name, formats[INPUT]).detach().double())), formats[name]
        )
        for name in graph.parameters
    }
    return IntegerProgram(
        steps=graph.steps,
        values={name: Value(size, formats[name]) for name, size in graph.sizes.items()},
        constants=constants,
        tables=choose_tables(graph, formats, function_error),
        states=dict(graph.states),
        step=tuple(graph.step),
        head=tuple(graph.head),
        logits=graph.logits,
        about=dict(about or {}),
        class_names=class_names,
    )


def _shaped(numbers: Tensor) -> Any:
    return (numbers if numbers.dim() in (2, 4) else numbers.reshape(-1)).cpu().numpy()
