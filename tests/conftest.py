"""Fixtures: composed configs, the folder of real data sets, a private cache."""

import os
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from threadpoolctl import threadpool_limits

from edgesearch.__main__ import CONF
from edgesearch.config import Config, typed_config

torch.set_num_threads(1)
threadpool_limits(1)


def composed(*overrides: str) -> Config:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return typed_config(compose("config", overrides=list(overrides)))


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests out of the user's cache; what one test makes serves the next, and those it starts (TEST_CACHE)."""
    own = tmp_path_factory.getbasetemp()
    together = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    base = Path(os.environ.get("TEST_CACHE", together / "cache"))
    base.mkdir(exist_ok=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(base))


@pytest.fixture
def data_folder() -> Path:
    folder = Path(os.environ.get("EDGESEARCH_DATA", "absent"))
    if not folder.is_dir():
        pytest.skip("needs the real data sets: EDGESEARCH_DATA names no folder")
    return folder
