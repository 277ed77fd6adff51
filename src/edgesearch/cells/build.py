"""Builds the fused op's shared libraries from cuda/ on first use and keeps them in the cache.

There are two: the op itself, against torch's stable ABI, with kernels for several instruction sets among which it
chooses when it runs; and its derivative, against the headers of one torch version. A library's name is a digest of the
sources, the flags, torch's version, the compiler and the machine type: any change makes another one.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from edgesearch.config.cache import cache_dir
from edgesearch.errors import EdgesearchError

# -fno-math-errno and -fno-trapping-math change no result; -ffast-math would.
_FLAGS = ("-std=c++20", "-O3", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden", "-w")
_STABLE_ABI = "-DTORCH_TARGET_VERSION=0x020b000000000000"  # torch 2.11


@dataclass(frozen=True)
class Library:
    """A shared library: its sources under cuda/, each with the flags of its own."""

    name: str
    sources: dict[str, tuple[str, ...]]


_X86_KERNELS = {
    "cpu/kernel_avx2.cpp": ("-mavx2", "-mfma"),
    "cpu/kernel_avx512.cpp": ("-mavx2", "-mfma", "-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw"),
}
LIBRARIES = (
    Library(
        "rnn",
        {"binding.cpp": (_STABLE_ABI,), "cpu/dispatch.cpp": (), "cpu/kernel_plain.cpp": ()}
        | (_X86_KERNELS if platform.machine() in ("x86_64", "AMD64") else {}),
    ),
    Library("rnn-autograd", {"autograd.cpp": ()}),
)


class BuildError(EdgesearchError):
    """The fused op cannot be built here."""


def sources() -> Path:
    """Return the folder of the op's sources: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "cuda"
    return installed if installed.is_dir() else package.parents[1] / "cuda"


def built(library: Library) -> Path:
    """Return the path of a built library, building it if it is not in the cache.

    Processes that start at once wait for one build. A build that fails leaves nothing.

    Raises:
        BuildError: no C++ compiler, or it failed.
    """
    compiler = _compiler()
    path = cache_dir() / "ops" / f"{library.name}-{_digest(compiler, library)}.so"
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_file():
            print(
                f"edgesearch: building the native op ({library.name}), once for this machine ...",
                file=sys.stderr,
                flush=True,
            )
            _build(compiler, library, path)
    return path


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise BuildError("the fused op needs a C++20 compiler, got none; install g++ or set cell.backend=eager")


def _digest(compiler: str, library: Library) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout
    digest = hashlib.sha256(version)
    for part in (compiler, torch.__version__, torch.__file__, platform.machine(), library, _FLAGS):
        digest.update(repr(part).encode())
    for file in sorted(sources().rglob("*")):
        if file.is_file():
            digest.update(file.relative_to(sources()).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _build(compiler: str, library: Library, path: Path) -> None:
    torch_folder = Path(torch.__file__).parent
    include = torch_folder / "include"
    includes = (f"-I{include}", f"-I{include / 'torch' / 'csrc' / 'api' / 'include'}")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:

        def compile_one(source: str) -> str:
            target = str(Path(folder) / (source.replace("/", "-") + ".o"))
            _run(compiler, *_FLAGS, *library.sources[source], *includes, "-c", str(sources() / source), "-o", target)
            return target

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compile_one, library.sources))
        linked = Path(folder) / "library.so"
        libraries = torch_folder / "lib"
        flags = (f"-L{libraries}", "-ltorch_cpu", "-ltorch", "-lc10", f"-Wl,-rpath,{libraries}")
        _run(compiler, "-shared", "-o", str(linked), *objects, *flags)
        linked.replace(path)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
        raise BuildError(f"the fused op must compile, got: {reason}; set cell.backend=eager or another compiler in CXX")
