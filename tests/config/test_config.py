"""Every shipped YAML composes; every kind of bad setting is one clear error."""

import copy
import functools
import math
from pathlib import Path
from typing import Any, cast, get_args, get_origin

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from edgesearch.__main__ import CONF
from edgesearch.config import config_hash, identity, load_config, typed_config
from edgesearch.config.load import key_rules, key_types
from edgesearch.errors import ConfigError, ModelFileError
from tests.conftest import composed

OPTIONS = sorted(path.relative_to(CONF) for path in CONF.rglob("*.yaml") if path.name != "config.yaml")


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_every_yaml_composes_and_validates(option: Path) -> None:
    group, name = str(option.parent), option.stem
    needed = {"train": [], "compress": [], "search": [], "report": ["study=some"], "approximate": []}
    extra = needed.get(name, ["run=somewhere"]) if group == "task" else []
    config = composed(f"{group}={name}", *extra)
    if group not in ("experiment", "train", "quant"):
        assert getattr(config, group).name == name


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["schedule.sparsity=1"], "schedule.sparsity must be less than 1, got 1"),
        (["schedule.sparsity=-0.1"], "schedule.sparsity must be at least 0, got -0.1; set schedule.sparsity=0"),
        (["schedule.wSparsity=nan"], "schedule.wSparsity must be a finite number"),
        (["cell.hidden_size=0"], "cell.hidden_size must be at least 1, got 0; set cell.hidden_size=1"),
        (["cell.hidden_size=many"], "cell.hidden_size has the wrong type"),
        (["cell.hidden_size=2.5"], "cell.hidden_size has the wrong type"),
        (["cell.update_nonlinearity=softplus"], "must be one of sigmoid, tanh"),
        (["train.clip_norm=inf"], "train.clip_norm must be a finite number, got inf"),
        (["seed=99999999999999999999"], "seed must be less than"),
        (["train.lr=0"], "train.lr must be greater than 0"),
        (["train=default", "+train.momentum=1"], "train.momentum is not a key of the configuration"),
        (["+cell.hiden_size=3"], "did you mean cell.hidden_size?"),
        (["+cell.wrank=3"], "did you mean cell.wRank?"),
        (["cell=fastrnn", "cell.gate_nonlinearity=tanh"], "set cell.gate_nonlinearity=null"),
        (["cell=fastgrnn", "cell.gate_nonlinearity=null"], "set cell.gate_nonlinearity=sigmoid"),
        (["cell=lstm", "cell.reset_after=true"], "set cell.reset_after=null"),
        (["cell.dropout=0.5"], "set cell.dropout=0"),
        (["schedule=dense", "schedule.uSparsity=0.5"], "set schedule=three_phase"),
        (["data=npy", "data.augment=true", "data.noise=0"], "set data.augment=false"),
        (["data=fsdd", "data.features.kind=mfcc", "data.features.coefficients=99"], "data.features.coefficients=24"),
        (["data=fsdd", "data.features.window_ms=5000"], "data.features.window_ms must be at most"),
        (["run=somewhere"], "set task=test"),
        (["task=test"], "set run=outputs/DATA/CELL/HASH"),
        (["logger=wandb", "logger.mode=sometimes"], "logger.mode must be one of offline, online"),
    ],
)
def test_a_bad_setting_is_one_line_with_rule_value_and_remedy(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        composed(*overrides)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_remedy_of_a_range_error_is_accepted() -> None:
    for broken in (
        "schedule.sparsity=1",
        "train.lr=0",
        "data.validation=1",
        "quant.weight_bits=64",
        "train.lr_gamma=0",
    ):
        with pytest.raises(ConfigError) as caught:
            composed(broken)
        composed(str(caught.value).rsplit("set ", 1)[1])


def test_a_missing_value_is_named() -> None:
    with pytest.raises(ConfigError, match="seed must be given"):
        typed_config(OmegaConf.create({}))


@pytest.mark.parametrize(
    "override",
    ["logger=wandb", "outputs_dir=elsewhere", "train.threads=2", "progress=false", "train.checkpoint_seconds=0"],
)
def test_logging_and_machine_keys_do_not_change_the_identity(override: str) -> None:
    assert config_hash(composed(override)) == config_hash(composed())


@pytest.mark.parametrize("override", ["seed=1", "cell.wRank=4", "data.variant=esl", "schedule.sparsity=0.7"])
def test_every_other_key_does(override: str) -> None:
    base = ["data=usps10"]
    assert config_hash(composed(*base, override)) != config_hash(composed(*base))


def test_the_users_files_are_part_of_the_identity() -> None:
    assert config_hash(composed(), "one") != config_hash(composed(), "two")


def test_a_config_survives_its_file(tmp_path: Path) -> None:
    config = composed("data=fsdd", "cell=gru", "cell.wRank=3")
    path = tmp_path / "config.yaml"
    path.write_text(OmegaConf.to_yaml(OmegaConf.structured(config)))
    assert identity(load_config(path)) == identity(config)


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [\n", None])
def test_an_unreadable_config_file_is_an_error(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ModelFileError, match=r"config\.yaml"):
        load_config(path)


def test_an_option_file_of_0_1_and_a_stored_config_get_the_keys_that_came_later(tmp_path: Path) -> None:
    lines = (CONF / "train" / "default.yaml").read_text().splitlines()
    mine = [line for line in lines if not line.startswith(("class_weights", "metric"))]
    assert len(mine) == len(lines) - 2
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.yaml").write_text("\n".join(mine))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        searched = [f"hydra.searchpath=[file://{tmp_path}]", "train=mine"]
        assert typed_config(compose("config", overrides=searched)).train.metric == "accuracy"


@pytest.mark.parametrize("value", ["${nope.x}", "${oc.env:NOPE}", "null", "3"])
def test_a_stored_group_that_is_none_is_one_line(tmp_path: Path, value: str) -> None:
    stored = OmegaConf.to_yaml(OmegaConf.structured(composed())).splitlines()
    start = stored.index("train:")
    end = next(k for k in range(start + 1, len(stored)) if not stored[k].startswith(" "))
    (tmp_path / "config.yaml").write_text("\n".join([*stored[:start], f"train: {value}", *stored[end:]]))
    with pytest.raises(ModelFileError) as caught:
        load_config(tmp_path / "config.yaml")
    assert "\n" not in str(caught.value)


def _numeric(declared: object) -> bool:
    inner = get_args(declared)
    return declared in (int, float) or any(map(_numeric, inner))


def test_every_number_has_an_upper_bound_and_every_collection_a_length() -> None:
    numbers, collections = 0, 0
    for path, rule in key_rules().items():
        declared = key_types()[path]
        if _numeric(declared):
            numbers += 1
            assert rule.at_most is not None or rule.below is not None, path
        if any(get_origin(part) in (list, dict) for part in (declared, *get_args(declared))):
            collections += 1
            assert rule.entries is not None, path
    assert numbers > 60
    assert collections == 6


NUMBERS = sorted(
    path
    for path, declared in key_types().items()
    if path in key_rules() and path.count(".") == 1 and declared in (int, float, int | None, float | None)
)


@functools.cache
def full_tree() -> dict[str, Any]:
    overrides = ("task=approximate", "approximate.high=2", "approximate.low=1", "data=fsdd", "train=default")
    return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.structured(composed(*overrides))))


@pytest.mark.parametrize("path", NUMBERS)
def test_numbers_beyond_their_range_are_one_line_whose_remedy_is_accepted(path: str) -> None:
    group, name = path.split(".")
    rule, integer = key_rules()[path], key_types()[path] in (int, int | None)
    for value in (10**400, 2**70, -(2**70)) if integer else (1e308, -1e308, math.inf, math.nan):
        changed = copy.deepcopy(full_tree())
        changed[group][name] = value
        with pytest.raises(ConfigError) as caught:
            typed_config(OmegaConf.create(changed))
        message = str(caught.value)
        assert message.startswith(f"{path} must be ")
        assert len(message) < 200
        remedy = message.rsplit("=", 1)[1]
        assert rule.broken_by(int(remedy) if integer else float(remedy)) is None


def test_entries_of_mappings_and_lists_are_named() -> None:
    for overrides, words in (
        (
            ["cell=lenet5", "+cell.kept={K1:100000}"],
            "cell.kept.K1 must be at most 4096, got 100000; set cell.kept.K1=4096",
        ),
        (["+quant.named.U=99"], "quant.named.U must be at most 16, got 99; set quant.named.U=16"),
        (
            ["search.weight_bits=[4,99]"],
            "search.weight_bits must be at most 16, got [4, 99]; set search.weight_bits=[16]",
        ),
        (["+search.space.more=" + "{" + ",".join(f"k{i}:1" for i in range(300)) + "}"], "of at most 200 entries"),
    ):
        with pytest.raises(ConfigError) as caught:
            composed(*overrides)
        assert words in str(caught.value)
