"""The CUDA kernels: compiled by nvcc, run by an emulation of threads and barriers, run on a GPU where there is one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from edgesearch.cells import build, fused
from edgesearch.cells.cell import CELLS
from edgesearch.cells.rnn import unroll
from tests.cells.comparison import EVERY_CELL, SIZES, RowByRow, assert_close, make, results

ARCHITECTURES = ("75", "90", "120")  # (each costs ten seconds)
NVCC, SANITIZER = shutil.which("nvcc"), shutil.which("compute-sanitizer")
EMULATION = Path(__file__).parent / "emulated_cuda"


@pytest.mark.slow
@pytest.mark.skipif(NVCC is None, reason="needs nvcc")
def test_nvcc_compiles_the_library_for_old_and_new_architectures(tmp_path: Path) -> None:
    include = Path(torch.__file__).parent / "include"
    includes = (f"-I{include}", f"-I{include / 'torch' / 'csrc' / 'api' / 'include'}")
    assert NVCC is not None
    for source, flags in build.CUDA_KERNELS.sources.items():
        target = tmp_path / f"{Path(source).stem}.o"
        subprocess.run(
            [NVCC, "--threads=2", *map(build.gencode, ARCHITECTURES), *build.nvcc_flags(), *flags, *includes,
             "-c", str(build.sources() / source), "-o", str(target)],
            check=True,
        )  # fmt: skip
        assert target.stat().st_size > 0


class Emulated(torch.autograd.Function):
    """The op of emulated_cuda/op.cpp with its derivative."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Any:
        out, h, c, pre, cells = torch.ops.edgesearch_emulated.rnn_forward(*arguments)
        ctx.arguments = arguments
        ctx.save_for_backward(out, pre, cells)
        ctx.mark_non_differentiable(pre, cells)
        ctx.set_materialize_grads(False)
        return out, h, c, pre, cells

    @staticmethod
    def backward(ctx: Any, *incoming: Any) -> Any:
        *tensors, lengths, cell, gate, update, reverse, _ = ctx.arguments
        d_out, d_h, d_c = incoming[:3]
        found = torch.ops.edgesearch_emulated.rnn_backward(
            d_out,
            d_h,
            d_c if cell == 5 else None,
            *tensors,
            lengths,
            *ctx.saved_tensors,
            cell,
            gate,
            update,
            reverse,
            True,
        )
        return *(g if t is not None else None for g, t in zip(found, tensors, strict=True)), *[None] * 6


Device = Callable[..., None]
# processors and shared memory: one row a thread, four rows a thread, U in global memory, all state in global memory
DEVICES = {"few rows": (64, 99 * 1024), "many rows": (1, 99 * 1024), "large U": (1, 9000), "large state": (4, 100)}


@pytest.fixture(scope="module")
def emulation(tmp_path_factory: pytest.TempPathFactory) -> Device:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++")
    library = tmp_path_factory.mktemp("emulated") / "op.so"
    folder = Path(torch.__file__).parent
    include = folder / "include"
    # the runtime's header is ours; -fno-extern-tls-init: shared memory needs no initialisation
    command = [
        compiler, "-std=c++20", "-O1", "-fPIC", "-shared", "-w", "-fno-extern-tls-init",
        build.STABLE_ABI, f"-I{EMULATION}", f"-I{build.sources()}", f"-I{include}",
        f"-I{include / 'torch' / 'csrc' / 'api' / 'include'}", str(EMULATION / "op.cpp"), "-o", str(library),
        f"-L{folder / 'lib'}", "-ltorch_cpu", "-ltorch", "-lc10", f"-Wl,-rpath,{folder / 'lib'}",
    ]  # fmt: skip
    subprocess.run(command, check=True)
    torch.ops.load_library(str(library))

    def device(processors: int, shared_bytes: int, seed: int = 1) -> None:
        torch.ops.edgesearch_emulated.device(processors, shared_bytes, seed)

    return device


@pytest.fixture
def emulated(emulation: Device, monkeypatch: pytest.MonkeyPatch) -> Device:
    """Put the emulated op in the place of the CPU's; call with processors, bytes of shared memory, thread order."""
    op = SimpleNamespace(rnn_forward=SimpleNamespace(default=Emulated.apply))
    monkeypatch.setattr(torch.ops, "edgesearch", op)
    return emulation


class TestEmulation:
    @pytest.mark.parametrize(
        ("which", "words"), [(0, "divergent barrier: one thread at line 0"), (2, "write past the end of shared memory")]
    )
    def test_a_broken_kernel_is_found(self, emulation: Device, which: int, words: str) -> None:
        emulation(1, 1000)
        with pytest.raises(RuntimeError, match=words):
            torch.ops.edgesearch_emulated.broken(torch.zeros(1, dtype=torch.float64), which)

    def test_a_missing_barrier_shows_in_the_results(self, emulation: Device) -> None:
        emulation(1, 1000)
        racing = torch.ops.edgesearch_emulated.broken(torch.zeros(1, dtype=torch.float64), 1)
        assert racing.isnan().any()

    @pytest.mark.parametrize("device", DEVICES.values(), ids=list(DEVICES))
    @pytest.mark.parametrize("sizes", [*SIZES[:4], (2, 9, 3, 600)], ids=str)
    @EVERY_CELL
    def test_outputs_and_gradients_equal_the_reference(
        self, emulated: Device, name: str, options: dict[str, Any], sizes: tuple[int, ...], device: tuple[int, int]
    ) -> None:
        T, B, D, H = sizes
        cell = make(name, D, H, **options)
        emulated(*device)
        for backward in (False, True):
            reference = results(unroll, cell, T, B, torch.float64, backward=backward)
            assert_close(results(fused.run, cell, T, B, torch.float64, backward=backward), reference, 1e-13, 1e-12)
        assert_close(results(fused.run, cell, T, B, torch.float32, backward=True), reference, 1e-6, 1e-5)

    @pytest.mark.parametrize("update", ["relu", "quantTanh", "quantSigm4"])
    @EVERY_CELL
    def test_other_nonlinearities_and_lengths(
        self, emulated: Device, name: str, options: dict[str, Any], update: str
    ) -> None:
        lengths = torch.tensor([4, 0, 1, 6, 3, 6])
        cell = make(name, 5, 9, gate_nonlinearity="quantSigm", update_nonlinearity=update, **options)
        for device in DEVICES.values():
            emulated(*device)
            for backward in (False, True):
                reference = results(RowByRow(lengths), cell, 6, 6, torch.float64, backward=backward)
                ours = results(fused.run, cell, 6, 6, torch.float64, backward=backward, lengths=lengths)
                assert_close(ours, reference, 1e-13, 1e-12)

    @EVERY_CELL
    def test_the_order_of_threads_changes_no_bit(self, emulated: Device, name: str, options: dict[str, Any]) -> None:
        cell = make(name, 5, 20, **options).float()
        runs = []
        for seed in range(4):
            emulated(1, 99 * 1024, seed)
            runs.append(results(fused.run, cell, 5, 30, torch.float32, backward=False))
        assert all(torch.equal(run[name], runs[0][name]) for run in runs for name in run)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
class TestGPU:
    @pytest.fixture(autouse=True)
    def _op(self) -> None:
        assert fused.usable(CELLS["fastrnn"](1, 1), torch.zeros(1, device="cuda"), "fused")

    @pytest.mark.parametrize("sizes", [*SIZES, (16, 100, 16, 32), (20, 700, 9, 80), (3, 5, 4, 1100)], ids=str)
    @EVERY_CELL
    def test_outputs_and_gradients_equal_the_reference(
        self, name: str, options: dict[str, Any], sizes: tuple[int, ...]
    ) -> None:
        T, B, D, H = sizes
        for backward in (False, True):
            cell = make(name, D, H, **options)
            reference = results(unroll, cell, T, B, torch.float64, backward=backward)
            cell = cell.to("cuda")
            assert_close(_on_gpu(cell, T, B, torch.float64, backward=backward), reference, 1e-12, 1e-11)
            assert_close(_on_gpu(cell, T, B, torch.float32, backward=backward), reference, 1e-6, 1e-5)

    def test_lengths(self) -> None:
        lengths = torch.tensor([4, 0, 1, 6, 3, 6])
        reference = results(RowByRow(lengths), make("gru", 5, 9), 6, 6, torch.float64, backward=True)
        cell = make("gru", 5, 9).to("cuda")
        assert_close(_on_gpu(cell, 6, 6, torch.float64, backward=True, lengths=lengths.cuda()), reference, 1e-12, 1e-11)

    def test_two_streams_at_once(self) -> None:
        cells = [make("lstm", 9, 40).float().cuda(), make("fastgrnn", 9, 40).float().cuda()]
        x = torch.randn(200, 64, 9, device="cuda")
        alone = [fused.run(cell, x, None)[0] for cell in cells]
        torch.cuda.synchronize()
        streams = [torch.cuda.Stream(), torch.cuda.Stream()]
        found: list[list[Tensor]] = [[], []]
        for _ in range(5):
            for k, stream in enumerate(streams):
                with torch.cuda.stream(stream):
                    found[k].append(fused.run(cells[k], x, None)[0])
        torch.cuda.synchronize()
        assert all(torch.equal(one, alone[k]) for k in range(2) for one in found[k])

    @pytest.mark.skipif(SANITIZER is None, reason="needs compute-sanitizer")
    @pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
    def test_compute_sanitizer_finds_nothing(self, tool: str) -> None:
        assert SANITIZER is not None
        program = (
            "import torch, edgesearch\n"
            "for cell in (edgesearch.FastGRNN, edgesearch.GRU, edgesearch.LSTM):\n"
            "    for B, H in ((3, 33), (700, 40), (2, 600)):\n"
            "        layer = cell(5, H, backend='fused').cuda()\n"
            "        layer(torch.randn(3, B, 5, device='cuda'))[0].sum().backward()\n"
            "torch.cuda.synchronize()\n"
        )
        done = subprocess.run(
            [SANITIZER, f"--tool={tool}", "--error-exitcode=9", sys.executable, "-c", program],
            capture_output=True, text=True, env=dict(os.environ), check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:]


def _on_gpu(cell: Any, T: int, B: int, dtype: torch.dtype, **options: Any) -> dict[str, Tensor]:
    found = results(fused.run, cell, T, B, dtype, device="cuda", **options)
    return {name: value.cpu() for name, value in found.items()}
