"""What pyproject.toml admits, held to it.

    python .ci/versions.py headers    compile every source of cuda/ against the oldest and the newest torch
    python .ci/versions.py oldest     print pip's constraints: the oldest version of everything but torch; nothing, and
                                      why on stderr, under a newer Python, for which the oldest have no wheels

Of each torch the wheel is downloaded without what it needs, and its headers alone are unpacked. A wheel that cannot be
had is one line; a source that does not compile is an error.
"""

import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from edgesearch.cells import build
from edgesearch.cells.build import BuildError, Library

ROOT = Path(__file__).parents[1]
HEADERS = "torch/include/"
GPU = "90"  # (each architecture costs fifteen seconds; a test compiles for three)


def project() -> dict[str, Any]:
    """Return pyproject.toml's table of the project."""
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def declared() -> Iterator[Requirement]:
    """Yield the dependencies, and those of every extra, but for the project itself."""
    found = project()
    extras = found["optional-dependencies"].values()
    for line in (*found["dependencies"], *(each for extra in extras for each in extra)):
        requirement = Requirement(line)
        if requirement.name != found["name"]:
            yield requirement


def oldest(requirement: Requirement) -> str:
    """Return the lower bound as a version that is asked for: `numpy==2.0`."""
    (bound,) = (part.version for part in requirement.specifier if part.operator == ">=")
    return f"{requirement.name}=={bound}"


def headers(wanted: str, folder: Path) -> Path | None:
    """Return torch's include folder of the newest wheel that `wanted` admits, or say why there is none."""
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-cache-dir")
    done = subprocess.run([*pip, "--dest", str(folder), wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), done.stderr.strip())
        print(f"not checked against {wanted}, whose wheel cannot be had: {reason[:200]}")
        return None
    (wheel,) = folder.glob("torch-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder, [name for name in packed.namelist() if name.startswith(HEADERS)])
    wheel.unlink()
    print(f"compiling cuda/ against {wheel.name}", flush=True)
    return folder / HEADERS


def compilers() -> Iterator[tuple[Library, tuple[str, ...]]]:
    """Yield each library with its compiler; the CUDA kernels only where nvcc is."""
    yield from ((library, (build.cxx(),)) for library in (build.OP, build.DERIVATIVE))
    try:
        yield build.CUDA_KERNELS, (*build.nvcc(), build.gencode(GPU))
    except BuildError:
        print("the CUDA sources are not compiled: no nvcc here")


def check_headers() -> None:
    """Compile everything against both torches.

    Raises:
        BuildError: a source does not compile.
    """
    (torch,) = (each for each in declared() if each.name == "torch")
    for wanted in (oldest(torch), str(torch)):
        with tempfile.TemporaryDirectory() as folder:
            include = headers(wanted, Path(folder))
            if include is None:
                continue
            for library, compiler in compilers():
                build.compile_sources(library, compiler, include, Path(folder))


def print_oldest() -> None:
    """Print a constraint a line."""
    here = ".".join(map(str, sys.version_info[:2]))
    if project()["requires-python"] != f">={here}":
        print(
            f"not checked: needs Python {project()['requires-python'].removeprefix('>=')}, got {here}", file=sys.stderr
        )
        return
    print(*(oldest(each) for each in declared() if each.name != "torch"), sep="\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["headers"]:
        check_headers()
    elif sys.argv[1:] == ["oldest"]:
        print_oldest()
    else:
        sys.exit(__doc__)
