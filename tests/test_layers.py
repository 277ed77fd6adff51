"""The architecture's table: who may import whom, and what importing the package costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import edgesearch

PACKAGE = Path(edgesearch.__file__).parent
LAYERS = {
    "errors": 0,
    "untrusted": 0,
    "atomic": 0,
    "plain": 0,
    "config": 0,
    "numerics": 1,
    "cells": 2,
    "data": 2,
    "budget": 3,
    "compress": 4,
    "training": 5,
    "export": 6,
    "measure": 7,
    "report": 8,
    "pipeline": 9,
    "search": 10,
    "command": 11,
    "__main__": 12,
}
ALLOWED = {
    "errors": set(),
    "untrusted": set(),
    "config": {"errors", "untrusted"},
    "atomic": {"config", "errors"},
    "plain": {"config"},
    "numerics": {"errors", "untrusted", "config", "atomic"},
    "cells": {"errors", "untrusted", "config", "numerics", "atomic"},
    "data": {"errors", "untrusted", "config", "atomic"},
    "export": {"errors", "untrusted", "config", "numerics", "cells", "atomic"},
    "report": {"errors", "untrusted", "config", "atomic", "plain"},
}
OWNERS = {
    "pytorch_lightning": {"training"},
    "wandb": {"report"},
    "spu": {"measure"},
    "jax": {"measure"},
    "optuna": {"search"},
    "sqlalchemy": {"search"},
    "hydra": {"__main__", "command", "search"},
}


def module_name(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively, which this test cannot follow"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and str(node.value).startswith("edgesearch."):
            found |= {str(node.value)}  # a module named for importlib
    return found


SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_imports_only_from_the_layers_above_it(path: Path) -> None:
    own = module_name(path)
    lower = {name for name, layer in LAYERS.items() if layer < LAYERS[own]}
    allowed = ALLOWED.get(own, lower) | {own}
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("edgesearch.")}
    assert ours <= allowed, f"{own} must not import {sorted(ours - allowed)}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_each_framework_has_one_importer(path: Path) -> None:
    own = module_name(path)
    roots = {name.split(".")[0] for name in imports(path)}
    assert all(own in OWNERS[root] for root in roots & OWNERS.keys())


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return {name.split(".")[0] for name in output.split()}


def test_importing_the_package_loads_no_framework() -> None:
    heavy = {"torch", "pytorch_lightning", "wandb", "optuna", "hydra", "numpy", "sklearn"}
    assert not loaded_after("import edgesearch") & heavy


def test_the_command_line_starts_without_torch() -> None:
    assert not loaded_after("import edgesearch.__main__") & {"torch", "pytorch_lightning", "wandb", "optuna", "numpy"}


def test_every_public_name_resolves() -> None:
    for name in edgesearch.__all__:
        assert getattr(edgesearch, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        edgesearch.nothing  # noqa: B018
