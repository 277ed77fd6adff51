"""Every shipped recipe trains: one epoch of each on its real data."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from edgesearch.__main__ import CONF
from edgesearch.pipeline.train import train
from tests.conftest import composed

RECIPES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_trains(tmp_path: Path, data_folder: Path, recipe: str) -> None:
    small = ("train.epochs=1", f"outputs_dir={tmp_path}", "progress=false")
    record = train(composed(f"experiment={recipe}", *small))
    assert record["status"] == "finished"
    assert record["nonzeros"] <= record["parameters"]
    (stored,) = tmp_path.glob("*/*/*/record.json")
    assert json.loads(stored.read_text())["test_accuracy"] == record["test_accuracy"]


def test_recipes_say_what_they_are() -> None:
    for recipe in RECIPES:
        text = (CONF / "experiment" / f"{recipe}.yaml").read_text().splitlines()
        assert text[0] == "# @package _global_"
        assert text[1].startswith("# ")
        assert "defaults" in OmegaConf.create("\n".join(text))
