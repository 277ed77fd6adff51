"""What CI asks of pyproject.toml's bounds: the constraints that it prints, the headers that it compiles against."""

import importlib.util
import re
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from edgesearch.cells import build

SCRIPT = Path(__file__).parents[1] / ".ci" / "versions.py"
PROJECT = SCRIPT.parents[1] / "pyproject.toml"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def versions() -> ModuleType:
    spec = importlib.util.spec_from_file_location("versions", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, the only place where pip looks."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def wheel(folder: Path, version: str, **files: str) -> None:
    about = f"torch-{version}.dist-info"
    texts = {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": "",
        "torch/lib/huge.so": "never unpacked",
    }
    with zipfile.ZipFile(folder / f"torch-{version}-py3-none-any.whl", "w") as packed:
        for name, text in {**texts, **files}.items():
            packed.writestr(name, text)


def test_every_lower_bound_becomes_a_version_but_torchs(
    versions: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(versions.sys, "version_info", (3, 11, 7))
    versions.print_oldest()
    constraints = capsys.readouterr().out.split()
    bounds = re.findall(r'^\s*"?.*?"([a-z\-]+)(?:\[binary\])?>=([0-9.]+)', PROJECT.read_text(), re.MULTILINE)
    assert {f"{name}=={bound}" for name, bound in bounds if name not in ("torch", "hatchling")} <= set(constraints)
    assert len(constraints) == len(set(constraints)) > 20
    assert not [line for line in constraints if line.startswith(("torch==", "edgesearch=="))]


def test_a_newer_python_is_told_why_nothing_is_checked(
    versions: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(versions.sys, "version_info", (3, 14, 0))
    versions.print_oldest()
    assert capsys.readouterr() == ("", "not checked: needs Python 3.11, got 3.14\n")


def test_a_wheels_headers_alone_are_unpacked(versions: ModuleType, wheels: Path, tmp_path: Path) -> None:
    for version in ("2.11.0", "2.13.2", "2.14.0"):
        wheel(wheels, version, **{"torch/include/torch/version.h": version, "torch/include/c10/macros.h": ""})
    found = {}
    for wanted in ("torch==2.11", "torch<2.14,>=2.11"):
        folder = tmp_path / wanted
        folder.mkdir()
        include = versions.headers(wanted, folder)
        found[wanted] = (include / "torch" / "version.h").read_text()
        assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["macros.h", "version.h"]
    assert found == {"torch==2.11": "2.11.0", "torch<2.14,>=2.11": "2.13.2"}


def test_a_wheel_that_cannot_be_had_is_one_line(
    versions: ModuleType, wheels: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert versions.headers("torch==2.11", tmp_path) is None
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("not checked against torch==2.11, whose wheel cannot be had: ERROR: ")


def test_headers_that_lack_what_a_source_names_are_an_error(versions: ModuleType, wheels: Path) -> None:
    for version in ("2.11.0", "2.13.0"):
        wheel(wheels, version, **{"torch/include/torch/version.h": version})
    with pytest.raises(build.BuildError, match="must compile, got: "):
        versions.check_headers()


def test_every_source_of_the_op_belongs_to_a_library() -> None:
    listed = {source for library in (build.OP, build.DERIVATIVE, build.CUDA_KERNELS) for source in library.sources}
    listed |= build._X86_KERNELS.keys()
    folder = build.sources()
    assert listed == {str(file.relative_to(folder)) for file in folder.rglob("*") if file.suffix in (".cpp", ".cu")}


def test_the_op_asks_for_the_abi_of_the_oldest_torch(versions: ModuleType) -> None:
    (torch,) = (each for each in versions.declared() if each.name == "torch")
    major, minor = map(int, versions.oldest(torch).removeprefix("torch==").split("."))
    assert build.STABLE_ABI.endswith(f"=0x{major:02x}{minor:02x}{0:012x}")
