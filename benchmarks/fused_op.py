"""The fused op against loops and libraries: forward and backward, and inference, as ratios.

Interleaved in one process on one thread; medians of thread CPU time. Below each block is the share of the fused
multiply-add peak measured in the same run. `torch.compile` of the eager loop is left out with --no-compile. With
--device cuda, torch's networks are cuDNN's and times are from start to end of a call.

    python benchmarks/fused_op.py [--seconds 5] [--no-compile] [--device cuda]
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from edgesearch.cells.cell import FastGRNNCell
from edgesearch.cells.rnn import RNNS

SHAPES = ((100, 16, 16, 32), (128, 99, 32, 100), (64, 128, 9, 80))  # B, T, D, H
LIBRARIES = {"torch.nn.GRU": torch.nn.GRU, "torch.nn.LSTM": torch.nn.LSTM, "torch.nn.RNN": torch.nn.RNN}
Run = Callable[[], Any]


def clock(device: str) -> float:
    """Seconds of this thread's CPU time, or of the wall clock once the GPU is idle."""
    if device == "cpu":
        return time.thread_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def medians(runs: dict[str, Run], seconds: float, device: str) -> dict[str, float]:
    """Call the runs in turn for a while; return each one's median time in seconds.

    In its turn each is called once to bring its memory back and then timed twice.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
        run()
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(next(iter(times.values()))) < 5:
        for name, run in runs.items():
            run()
            for _ in range(2):
                start = clock(device)
                run()
                times[name].append(clock(device) - start)
    return {name: statistics.median(values) for name, values in times.items()}


def learning(module: Callable[[Tensor], Any], parameters: list[Tensor], x: Tensor, gradient: Tensor) -> Run:
    """Forward, and the gradients of every parameter."""
    return lambda: torch.autograd.grad(module(x)[0], parameters, gradient)


def answering(module: Callable[[Tensor], Any], x: Tensor) -> Run:
    """Forward in inference mode."""

    def run() -> None:
        with torch.inference_mode():
            module(x)

    return run


def peak() -> float:
    """Build and run fma_peak.c for this processor; return its operations a second."""
    source = Path(__file__).with_name("fma_peak.c")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peak"
        subprocess.run(["cc", "-O3", "-march=native", "-funroll-loops", str(source), "-o", str(program)], check=True)  # noqa: S607
        return float(subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout)


def modules(D: int, H: int, device: str) -> dict[str, Any]:
    """One layer of every cell on the fused op, FastGRNN in our and in EdgeML's eager loop, torch's own networks."""
    fused = {f"{name} fused": RNNS[name](D, H, backend="fused") for name in RNNS}
    ours = RNNS["fastgrnn"](D, H, backend="eager")
    eager = {"fastgrnn eager": ours, "fastgrnn EdgeML": Loop(cast(FastGRNNCell, ours.cells[0]))}
    libraries = {name: library(D, H) for name, library in LIBRARIES.items()}
    return {name: module.to(device) for name, module in (fused | eager | libraries).items()}


class Loop(torch.nn.Module):
    """FastGRNN as EdgeML's PyTorch code runs it: one cell call a step, outputs written into one tensor."""

    def __init__(self, cell: FastGRNNCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(T, B, D) to every h (T, B, H) and the last."""
        T, B, _ = x.shape
        h = x.new_zeros(B, self.cell.hidden_size)
        outputs = x.new_zeros(T, B, self.cell.hidden_size)
        for t in range(T):
            p = torch.matmul(x[t], self.cell.W) + torch.matmul(h, self.cell.U)
            z = torch.sigmoid(p + self.cell.Bg)
            c = torch.tanh(p + self.cell.Bh)
            h = z * h + (torch.sigmoid(self.cell.zeta) * (1.0 - z) + torch.sigmoid(self.cell.nu)) * c
            outputs[t] = h
        return outputs, h


def print_ratios(title: str, found: dict[str, float]) -> None:
    """Print each time in microseconds and what fused FastGRNN, GRU and LSTM gain over it."""
    print(title)
    for name, seconds in found.items():
        gains = (f"{seconds / found[f'{cell} fused']:8.1f}" for cell in ("fastgrnn", "gru", "lstm"))
        print(f"  {name:20s} {1e6 * seconds:10.0f} us   over fused fastgrnn, gru, lstm {' '.join(gains)}")


def main() -> None:
    """Print a block for each shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each block")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    device = arguments.device
    torch.set_num_threads(1)
    for B, T, D, H in SHAPES:
        x, gradient = torch.randn(T, B, D, device=device), torch.randn(T, B, H, device=device)
        everything = modules(D, H, device)
        runs = {name: learning(module, list(module.parameters()), x, gradient) for name, module in everything.items()}
        if not arguments.no_compile:
            eager = everything["fastgrnn eager"]
            runs["fastgrnn compiled"] = learning(torch.compile(eager), list(eager.parameters()), x, gradient)
        found = medians(runs, arguments.seconds, device)
        print_ratios(f"forward and backward, B, T, D, H = {B}, {T}, {D}, {H}", found)
        if device == "cpu":
            share = B * T * H * (4 * D + 6 * H) / found["fastgrnn fused"] / peak()
            print(f"  fastgrnn fused runs at {share:.0%} of the multiply-add peak")
    T, D, H = 99, 32, 100
    x = torch.randn(T, 1, D, device=device)
    runs = {name: answering(module, x) for name, module in modules(D, H, device).items()}
    print_ratios(f"inference, B, T, D, H = 1, {T}, {D}, {H}", medians(runs, arguments.seconds, device))


if __name__ == "__main__":
    main()
