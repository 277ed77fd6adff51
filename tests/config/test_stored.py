"""The config.yaml of a stranger's run folder: nothing in it is resolved, made or followed."""

import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from edgesearch.config import config_hash, load_config
from edgesearch.errors import ModelFileError
from tests.conftest import composed

PLAIN = OmegaConf.to_yaml(OmegaConf.structured(composed("data=digits", "cell=fastgrnn")))


def stored(folder: Path, text: str | bytes) -> Path:
    path = folder / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_stored_config_comes_back(tmp_path: Path) -> None:
    found = load_config(stored(tmp_path, PLAIN))
    assert config_hash(found) == config_hash(composed("data=digits", "cell=fastgrnn"))


@pytest.mark.parametrize(
    "edit",
    [
        ("run: null", "run: ${oc.env:EDGESEARCH_SECRET}"),
        ("path: null", "path: ${oc.env:EDGESEARCH_SECRET}"),
        ("name: digits", "name: x${oc.env:EDGESEARCH_SECRET}"),
        ("seed: ", "seed: ${oc.decode:'${oc.env:EDGESEARCH_SECRET}'} #"),
        ("tags: []", "tags: ['${oc.env:EDGESEARCH_SECRET}']"),
        ("hidden_size: ", "hidden_size: ${seed} #"),
        ("data:\n", "data: ${cell}\nother:\n"),
        ("named: {}", "named: {'${oc.env:EDGESEARCH_SECRET}': 8}"),
        ("path: null", "path: ${hydra:runtime.cwd}"),
    ],
)
def test_an_interpolation_is_refused_and_not_resolved(
    edit: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGESEARCH_SECRET", "hunter2")
    assert edit[0] in PLAIN
    with pytest.raises(ModelFileError, match=r"must hold values, got .*\$\{") as caught:
        load_config(stored(tmp_path, PLAIN.replace(edit[0], edit[1], 1)))
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + k)}: &{chr(98 + k)} [{', '.join(['*' + chr(97 + k)] * 9)}]\n" for k in range(9)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB, "run: &a [*a]\n", "[" * 5000, "{" * 5000, b"\xff\xfe\x00",
        "run: !!python/object/apply:os.system ['id']\n", "", "- 1\n", "null\n", "3\n", "seed: [\n",
        "seed: 99999999999999999999999999\n", "seed: {}\n", "data: 3\n", "data: null\n", "? [1, 2]\n: 3\n",
        "seed: 2001-99-99\n", "x: " + "1" * (1 << 20), "seed: .inf\n", "seed: 1e400\n", "1: 2\n", "task: []\n",
    ],
    ids=range(22),
)  # fmt: skip
def test_other_files_are_one_line(text: str | bytes, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="train the run again") as caught:
        load_config(stored(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yaml")
    with pytest.raises(ModelFileError, match="no regular file"):
        load_config(tmp_path / "config.yaml")


def test_a_value_of_the_command_is_no_interpolation_either() -> None:
    from edgesearch.errors import ConfigError

    with pytest.raises(ConfigError, match=r"run must be a value of its own"):
        composed("task=test", r"run='\${oc.env:HOME}'")
