"""The exported C on this machine: time of a window, code size, and what it gains over torch and the interpreter.

FastGRNN as on USPS (16 frames of 16 values, H = 32, 8-bit weights, 16-bit activations, piecewise-linear gates), random
weights, one window after the other on one thread.

    python benchmarks/exported_c.py
"""

import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgesearch.cells.classifier import build_classifier
from edgesearch.cells.spec import ModelSpec
from edgesearch.compress.calibrate import Widths
from edgesearch.compress.finetune import calibrated, raw_graph
from edgesearch.compress.program import compile_program
from edgesearch.export.c import export_c

WINDOWS = 200_000
BENCH = """#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>
#include "model.h"
#include "test/golden.h"
int main(void) {
  struct timespec a, b;
  int n, sum = (int)golden_logits[0] * 0 + golden_answers[0] * 0;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
  for (n = 0; n < %d; n++) sum += model_predict(golden_windows + (size_t)(n %% GOLDEN) * MODEL_STEPS * MODEL_INPUTS);
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
  printf("%%.9f %%d", ((b.tv_sec - a.tv_sec) + (b.tv_nsec - a.tv_nsec) * 1e-9) / %d, sum);
  return 0;
}
"""


def seconds(run: Callable[[], Any], repeats: int) -> float:
    """Thread CPU time of a call."""
    run()
    start = time.thread_time()
    for _ in range(repeats):
        run()
    return (time.thread_time() - start) / repeats


def compiled(folder: Path, flags: str) -> tuple[float, int]:
    """Seconds a window and bytes of model.o."""
    (folder / "bench.c").write_text(BENCH % (WINDOWS, WINDOWS), encoding="utf-8")
    for command in (["-c", "model.c"], ["bench.c", "model.c", "-o", "bench"]):
        subprocess.run(["cc", "-std=c99", *flags.split(), *command], cwd=folder, check=True)  # noqa: S607
    size = subprocess.run(["size", "model.o"], cwd=folder, capture_output=True, text=True, check=True)  # noqa: S607
    found = subprocess.run([str(folder / "bench")], capture_output=True, text=True, check=True)
    return float(found.stdout.split()[0]), int(size.stdout.split()[6])


def main() -> None:
    """Print a line for each way to run a window."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    spec = ModelSpec("fastgrnn", 16, 16, 32, 10, gate_nonlinearity="quantSigm", update_nonlinearity="quantTanh")
    model = build_classifier(spec)
    graph = raw_graph(model, 16, torch.zeros(16), torch.full((16,), 0.5))
    x = torch.rand(16, 200, 16) * 2 - 1
    program = compile_program(graph, calibrated(graph, x, Widths(8, 16)), 1e-3)
    with torch.inference_mode():
        one = x[:, :1].contiguous()
        found = {"torch, fused op, one window": seconds(lambda: model(one), 2000)}
    batch = np.tile(x.numpy(), (1, 10, 1))
    found["interpreter, a window of 2000"] = seconds(lambda: program.run(batch), 3) / batch.shape[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "c"
        export_c(program, folder)
        for flags in ("-Os", "-O2", "-O2 -march=native"):
            found[f"C {flags}"], size = compiled(folder, flags)
            print(f"C {flags}: {size} bytes of code and constants, {program.flash_bytes} of them constants")
    for name, spent in found.items():
        print(f"{name:32s} {1e6 * spent:9.2f} us   {spent / found['C -O2']:6.1f} times C -O2")


if __name__ == "__main__":
    main()
