"""The exported C on a 32-bit chip's instruction set: that it compiles, and how many bytes it takes."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from edgesearch.cells.classifier import build_classifier
from edgesearch.cells.spec import ModelSpec
from edgesearch.compress.calibrate import Widths
from edgesearch.compress.finetune import calibrated, raw_graph
from edgesearch.compress.program import compile_program
from edgesearch.export.c import export_c

COMPILER, SIZE = shutil.which("arm-none-eabi-gcc"), shutil.which("arm-none-eabi-size")


@pytest.mark.skipif(COMPILER is None, reason="needs arm-none-eabi-gcc")
@pytest.mark.parametrize("core", ["cortex-m0", "cortex-m4"])
def test_usps_size_model_fits_with_its_code(core: str, tmp_path: Path) -> None:
    assert COMPILER is not None
    assert SIZE is not None
    torch.manual_seed(0)
    spec = ModelSpec("fastgrnn", 16, 16, 32, 10, gate_nonlinearity="quantSigm", update_nonlinearity="quantTanh")
    graph = raw_graph(build_classifier(spec, "eager"), 16, torch.zeros(16), torch.full((16,), 0.5))
    formats = calibrated(graph, torch.rand(16, 200, 16) * 2 - 1, Widths(8, 16))
    program = compile_program(graph, formats, 1e-3)
    export_c(program, tmp_path / "c")
    target = tmp_path / "model.o"
    command = [COMPILER, f"-mcpu={core}", "-mthumb", "-std=c99", "-Os", "-Wall", "-Wextra", "-Werror", "-c", "model.c"]
    subprocess.run([*command, "-o", str(target)], cwd=tmp_path / "c", check=True)
    text, data, bss = subprocess.run([SIZE, target], capture_output=True, text=True, check=True).stdout.split()[6:9]
    assert program.flash_bytes <= 2100
    assert int(text) <= 2600
    assert (data, bss) == ("0", "0")
