"""Builds the fused op's shared libraries from cuda/ on first use and keeps them in the cache.

There are three: the op itself, against torch's stable ABI, with kernels for several instruction sets among which it
chooses when it runs; its derivative, against the headers of one torch version; and, where there is a GPU, its CUDA
kernels, for the GPUs of this machine. A library's name is a digest of the sources, the flags, torch's version, the
compilers and the machine type: any change makes another one.
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

from edgesearch.atomic import write_text
from edgesearch.config.cache import cache_dir
from edgesearch.errors import EdgesearchError

# -fno-math-errno and -fno-trapping-math change no result; -ffast-math would.
_FLAGS = ("-std=c++20", "-O3", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden", "-w")
STABLE_ABI = "-DTORCH_TARGET_VERSION=0x020b000000000000"  # torch 2.11, the oldest that pyproject.toml admits


@dataclass(frozen=True)
class Library:
    """A shared library: its sources under cuda/, each with the flags of its own; `cuda`: nvcc compiles and links it."""

    name: str
    sources: dict[str, tuple[str, ...]]
    cuda: bool = False


_X86_KERNELS = {
    "cpu/kernel_avx2.cpp": ("-mavx2", "-mfma"),
    "cpu/kernel_avx512.cpp": ("-mavx2", "-mfma", "-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw"),
}
OP = Library(
    "rnn",
    {"binding.cpp": (STABLE_ABI,), "cpu/dispatch.cpp": (), "cpu/kernel_plain.cpp": ()}
    | (_X86_KERNELS if platform.machine() in ("x86_64", "AMD64") else {}),
)
DERIVATIVE = Library("rnn-autograd", {"autograd.cpp": ()})
CUDA_KERNELS = Library("rnn-cuda", {"gpu/binding.cpp": (STABLE_ABI, "-DUSE_CUDA"), "gpu/kernel.cu": ()}, cuda=True)


class BuildError(EdgesearchError):
    """The fused op cannot be built here."""


def sources() -> Path:
    """Return the folder of the op's sources: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "cuda"
    return installed if installed.is_dir() else package.parents[1] / "cuda"


def built(library: Library) -> Path:
    """Return the path of a built library, building it if it is not in the cache.

    Processes that start at once wait for one build. A build that fails leaves nothing; what is damaged is built again.

    Raises:
        BuildError: no C++ compiler, or no nvcc for CUDA kernels, or it failed.
    """
    compiler = (*nvcc(), *_architectures()) if library.cuda else (cxx(),)
    path = cache_dir() / "ops" / f"{library.name}-{_digest(compiler, library)}.so"
    if _whole(path):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _whole(path):
            why = "once for this machine" if not path.exists() else "as the one in the cache is damaged"
            print(f"edgesearch: building the native op ({library.name}), {why} ...", file=sys.stderr, flush=True)
            _build(compiler, library, path)
            write_text(_sum_of(path), _content(path))
    return path


def _whole(path: Path) -> bool:
    """Tell whether a library is as it was built: its digest lies beside it."""
    try:
        return _sum_of(path).read_text(encoding="ascii") == _content(path)
    except (FileNotFoundError, ValueError):
        return False


def _sum_of(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def cxx() -> str:
    """Return the C++ compiler: `CXX`, or one on the path.

    Raises:
        BuildError: there is none.
    """
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise BuildError("the fused op needs a C++20 compiler, got none; install g++ or set cell.backend=eager")


def nvcc() -> tuple[str, ...]:
    """Return nvcc and its flags for the host compiler.

    Raises:
        BuildError: one of them is missing.
    """
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    found = shutil.which("nvcc") or shutil.which("nvcc", path=f"{home}/bin")
    if found is None:
        raise BuildError(
            "the fused op needs nvcc on a GPU, got none; install the CUDA toolkit or set cell.backend=eager"
        )
    return found, "-ccbin", cxx()


def _architectures() -> tuple[str, ...]:
    found = {torch.cuda.get_device_capability(device) for device in range(torch.cuda.device_count())}
    return tuple(gencode(f"{major}{minor}") for major, minor in sorted(found))


def gencode(architecture: str) -> str:
    """Return nvcc's flag for machine code of an architecture, `90` for compute capability 9.0."""
    return f"-gencode=arch=compute_{architecture},code=sm_{architecture}"


def nvcc_flags() -> tuple[str, ...]:
    """Return the flags for CUDA sources: C++20 without fast arithmetic."""
    return ("-std=c++20", "-O3", f"-Xcompiler={','.join(f for f in _FLAGS if f.startswith('-f'))}", "-w")


def _digest(compiler: tuple[str, ...], library: Library) -> str:
    digest = hashlib.sha256()
    for program in dict.fromkeys((compiler[0], cxx())):
        digest.update(subprocess.run([program, "--version"], capture_output=True, check=False).stdout)
    for part in (compiler, torch.__version__, torch.__file__, platform.machine(), library, _FLAGS):
        digest.update(repr(part).encode())
    for file in sorted(sources().rglob("*")):
        if file.is_file():
            digest.update(file.relative_to(sources()).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _build(compiler: tuple[str, ...], library: Library, path: Path) -> None:
    torch_folder = Path(torch.__file__).parent
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        objects = compile_sources(library, compiler, torch_folder / "include", Path(folder))
        linked = Path(folder) / "library.so"
        libraries = torch_folder / "lib"
        flags = [f"-L{libraries}", "-ltorch_cpu", "-ltorch", "-lc10"]
        flags += ["-ltorch_cuda", f"-Xlinker=-rpath={libraries}"] if library.cuda else [f"-Wl,-rpath,{libraries}"]
        _run(*compiler, "-shared", "-o", str(linked), *objects, *flags)
        linked.replace(path)


def compile_sources(library: Library, compiler: tuple[str, ...], include: Path, folder: Path) -> list[str]:
    """Compile each source of a library against torch's headers in `include`; return the object files in `folder`.

    Raises:
        BuildError: one does not compile.
    """
    includes = (f"-I{include}", f"-I{include / 'torch' / 'csrc' / 'api' / 'include'}")
    common = nvcc_flags() if library.cuda else _FLAGS

    def compile_one(source: str) -> str:
        target = str(folder / (source.replace("/", "-") + ".o"))
        _run(*compiler, *common, *library.sources[source], *includes, "-c", str(sources() / source), "-o", target)
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_one, library.sources))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip()[:200] or f"exit code {done.returncode} of {command[0]}"
        reason = next((line for line in done.stderr.splitlines() if "error" in line), said)
        raise BuildError(f"the fused op must compile, got: {reason}; set cell.backend=eager or another compiler in CXX")
