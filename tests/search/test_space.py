"""The search space: Hydra's syntax in, distributions out."""

from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from edgesearch.errors import ConfigError
from edgesearch.search.space import Space

SYNTAX: list[tuple[dict[str, Any], Any]] = [
    ({"cell": {"hidden_size": "range(8, 65, 4)"}}, IntDistribution(8, 64, step=4)),
    ({"cell.uRank": "interval(2, 9)"}, IntDistribution(2, 9)),
    ({"train.lr": "interval(0.001, 0.1)"}, FloatDistribution(0.001, 0.1)),
    ({"train.lr": "tag(log, interval(1e-3, 1e-1))"}, FloatDistribution(0.001, 0.1, log=True)),
    ({"schedule.sparsity": "range(0, 1, 0.25)"}, FloatDistribution(0.0, 0.75, step=0.25)),
    ({"cell.wRank": [None, 4, 8]}, CategoricalDistribution([None, 4, 8])),
    ({"cell.update_nonlinearity": "choice(tanh, quantTanh)"}, CategoricalDistribution(["tanh", "quantTanh"])),
    ({"cell": "choice(gru, lstm)"}, CategoricalDistribution(["gru", "lstm"])),
    ({"data.augment": "true,false"}, CategoricalDistribution([True, False])),
    ({"seed": 3}, CategoricalDistribution([3])),
]


@pytest.mark.parametrize(("written", "wanted"), SYNTAX)
def test_hydras_sweeps_become_distributions(written: dict[str, Any], wanted: Any) -> None:
    (found,) = Space.parse(written).distributions.values()
    assert found == wanted


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "must name a key"),
    ({"cell.hiden_size": "1"}, "did you mean cell.hidden_size"),
    ({"task": "train"}, "the same for all trials"),
    ({"search.n_trials": "1,2"}, "the same for all trials"),
    ({"data.name": "digits,usps10"}, "the same for all trials"),
    ({"seed": "range(1, 2"}, "must be choice"),
    ({"seed": "range(3, 1)"}, "empty"),
    ({"seed": "interval(5, 1)"}, "must be choice"),
    ({"seed": "glob(*)"}, "single values"),
    ({"seed": [[1]]}, "single values"),
    ({"seed": "choice(1, a)"}, "values of seed, got a"),
    ({"cell.hidden_size": [8, 2.5]}, "values of cell.hidden_size, got 2.5"),
    ({"data.augment": [1]}, "values of data.augment, got 1"),
    ({"cell": {"uRank": "1"}, "cell.uRank": "2"}, "nested and dotted"),
]


@pytest.mark.parametrize(("written", "words"), BAD)
def test_what_is_no_space_is_one_line(written: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        Space.parse(written)
    assert "\n" not in str(caught.value)


def test_a_grid_has_every_combination() -> None:
    space = Space.parse({"cell.hidden_size": "range(8, 17, 4)", "schedule.sparsity": "range(0, 0.6, 0.5)", "seed": [1]})
    points = space.grid()
    assert len(points) == 6
    assert points[1] == {"cell.hidden_size": 8, "schedule.sparsity": 0.5, "seed": 1}
    with pytest.raises(ConfigError, match="single values"):
        Space.parse({"train.lr": "interval(0.001, 0.1)"}).grid()
