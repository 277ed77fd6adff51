"""Every shipped recipe trains: one epoch of each on its real data."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from edgesearch.__main__ import CONF
from edgesearch.cells.spec import model_spec
from edgesearch.pipeline.train import train
from edgesearch.search.tasks import run_study_task
from tests.conftest import composed

RECIPES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
SEARCHES = [recipe for recipe in RECIPES if recipe.endswith("_search")]


@pytest.mark.parametrize("recipe", sorted(set(RECIPES) - set(SEARCHES)))
def test_a_recipe_trains(tmp_path: Path, data_folder: Path, recipe: str) -> None:
    small = ("task=train", "train.epochs=1", f"outputs_dir={tmp_path}", "progress=false")
    record = train(composed(f"experiment={recipe}", *small))
    assert record["status"] == "finished"
    (stored,) = tmp_path.glob("*/*/*/record.json")
    assert json.loads(stored.read_text())["test_accuracy"] == record["test_accuracy"]


@pytest.mark.parametrize("recipe", SEARCHES)
def test_a_recipe_searches(tmp_path: Path, data_folder: Path, recipe: str) -> None:
    options = (f"experiment={recipe}", "train.epochs=3", f"outputs_dir={tmp_path}", "progress=false")
    small = ("search.n_trials=1", "search.workers=1", "search.finetune=1", "finetune.epochs=1")
    summary = run_study_task(composed(*options, *small), [*options, *small], [], lambda given: composed(*given))
    assert summary["trained"] == 1
    assert summary["best"]["test_accuracy"]["integer"] > 0


def test_the_compact_recipe_has_at_most_1600_nonzeros() -> None:
    config = composed("experiment=usps10_compact")
    assert model_spec(config.cell, config.schedule, steps=16, input_size=16, classes=10).nonzeros <= 1600


def test_the_edgeml_recipe_is_their_model() -> None:
    config = composed("experiment=usps10_edgeml")
    spec = model_spec(config.cell, config.schedule, steps=16, input_size=16, classes=10)
    assert spec.parameters == spec.nonzeros == 1932
    assert config.data.variant == "libsvm"


def test_recipes_say_what_they_are() -> None:
    for recipe in RECIPES:
        text = (CONF / "experiment" / f"{recipe}.yaml").read_text().splitlines()
        assert text[0] == "# @package _global_"
        assert text[1].startswith("# ")
        assert "defaults" in OmegaConf.create("\n".join(text))
