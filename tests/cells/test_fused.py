"""The fused op against the eager cells in float64: every cell, nonlinearity and awkward size."""

import ctypes
import hashlib
import os
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.prune import l1_unstructured

import edgesearch
from edgesearch.cells import build, fused
from edgesearch.cells.cell import CELLS
from edgesearch.cells.rnn import RNN, RNNS, unroll
from edgesearch.config.schema import NONLINEARITIES
from edgesearch.errors import ConfigError, EdgesearchWarning
from tests.cells.comparison import EVERY_CELL, SIZES, RowByRow, assert_close, inputs, make, results


@pytest.fixture(autouse=True, scope="module")
def _op() -> None:
    assert fused.usable(CELLS["fastrnn"](1, 1), torch.zeros(1), "fused")


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@EVERY_CELL
@pytest.mark.parametrize("backward", [False, True], ids=["onward", "backward"])
def test_outputs_and_gradients_equal_the_reference(
    name: str, options: dict[str, Any], sizes: tuple[int, ...], backward: bool
) -> None:
    T, B, D, H = sizes
    cell = make(name, D, H, **options)
    reference = results(unroll, cell, T, B, torch.float64, backward=backward)
    assert_close(results(fused.run, cell, T, B, torch.float64, backward=backward), reference, 1e-13, 1e-12)
    assert_close(results(fused.run, cell, T, B, torch.float32, backward=backward), reference, 1e-6, 1e-5)


@EVERY_CELL
def test_sums_over_thousands_of_rows_keep_their_digits(name: str, options: dict[str, Any]) -> None:
    cell = make(name, 16, 48, **options)
    reference = results(unroll, cell, 60, 80, torch.float64)
    assert_close(results(fused.run, cell, 60, 80, torch.float32), reference, 1e-6, 2e-6)


@pytest.mark.parametrize("gate", NONLINEARITIES)
@pytest.mark.parametrize("update", NONLINEARITIES)
@pytest.mark.parametrize("name", ["fastgrnn", "lstm"])
def test_every_pair_of_nonlinearities(name: str, gate: str, update: str) -> None:
    cell = make(name, 5, 9, gate_nonlinearity=gate, update_nonlinearity=update)
    reference = results(unroll, cell, 4, 3, torch.float64)
    assert_close(results(fused.run, cell, 4, 3, torch.float64, backward=False), reference, 1e-13, 1e-12)
    assert_close(results(fused.run, cell, 4, 3, torch.float32, backward=False), reference, 1e-6, 1e-5)


@EVERY_CELL
@pytest.mark.parametrize("backward", [False, True], ids=["onward", "backward"])
def test_lengths_cut_each_row_for_itself(name: str, options: dict[str, Any], backward: bool) -> None:
    lengths = torch.tensor([4, 0, 1, 6, 3, 6])
    T, B = 6, len(lengths)
    cell = make(name, 5, 9, **options)

    reference = results(RowByRow(lengths), cell, T, B, torch.float64, backward=backward)
    for run in (fused.run, unroll):
        ours = results(run, cell, T, B, torch.float64, backward=backward, lengths=lengths)
        assert_close(ours, reference, 1e-13, 1e-12)


def test_lengths_reach_every_layer_and_direction_and_are_checked() -> None:
    layers = [
        RNNS["gru"](3, 4, num_layers=2, bidirectional=True, batch_first=True, backend=backend, dtype=torch.float64)
        for backend in ("fused", "eager")
    ]
    layers[1].load_state_dict(layers[0].state_dict())
    x, lengths = torch.randn(3, 5, 3, dtype=torch.float64), torch.tensor([5, 2, 3])
    for layer in layers:
        output, last = layer(x, lengths=lengths)
        for b, length in enumerate(lengths.tolist()):
            alone, alone_last = layer(x[b : b + 1, :length])
            torch.testing.assert_close(output[b : b + 1, :length], alone)
            torch.testing.assert_close(last[:, b : b + 1], alone_last)
            assert not output[b, length:].any()
    for wrong in (torch.tensor([5, 2]), torch.tensor([5.0, 2.0, 3.0])):
        with pytest.raises(ValueError, match=r"lengths are int64 of shape \(3,\)"):
            layers[0](x, lengths=wrong)


@EVERY_CELL
def test_both_backends_are_one_module(name: str, options: dict[str, Any]) -> None:
    sizes: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "wRank": 2, "uRank": 3}
    ours = RNNS[name](4, 5, backend="fused", **sizes, **options)
    theirs = RNNS[name](4, 5, backend="eager", **sizes, **options)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(6, 3, 4)
    for a, b in zip(ours(x), theirs(x), strict=True):
        torch.testing.assert_close(a, b)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x.transpose(0, 1).contiguous().transpose(0, 1))[0], theirs(x)[0])


def arguments(name: str, **options: Any) -> tuple[Any, ...]:
    """Arguments of the op for a cell, floating tensors requiring gradients."""
    cell = make(name, 3, 4, **options)
    x, state, _ = inputs(cell, 3, 2)
    biases = [getattr(cell, bias) for bias in cell.bias_names]
    scalars = [getattr(cell, scalar) for scalar, _ in cell.kind.scalars]
    kind = {"fastrnn": 0, "fastgrnn": 1, "ugrnn": 2, "gru": 3 + cell.spec.reset_after, "lstm": 5}[name]
    tensors = [x, state[0], state[1] if name == "lstm" else None, cell.W, cell.U, *biases, *[None] * (4 - len(biases))]
    tensors += scalars or [None, None]
    return (*(t if t is None else t.detach().requires_grad_() for t in tensors), None, kind, 0, 1, False, True)


@EVERY_CELL
def test_opcheck(name: str, options: dict[str, Any]) -> None:
    torch.library.opcheck(torch.ops.edgesearch.rnn_forward, arguments(name, **options))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fastgrnn", "lstm"])
def test_torch_compile_takes_the_whole_graph(name: str) -> None:
    model = RNNS[name](3, 4, backend="fused")
    x = torch.randn(5, 2, 3)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x)[0], model(x)[0])
    ours, theirs = (torch.autograd.grad(m(x)[0].square().sum(), list(model.parameters())) for m in (compiled, model))
    torch.testing.assert_close(ours, theirs)


def test_a_second_derivative_is_refused() -> None:
    model = RNNS["fastgrnn"](3, 4, backend="fused")
    x = torch.randn(5, 2, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(model(x)[0].sum(), x, create_graph=True)


def test_a_thread_count_always_gives_the_same_bits() -> None:
    cell = make("gru", 5, 20).float()
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            runs = [results(fused.run, cell, 7, 150, torch.float32, backward=False) for _ in range(3)]
            assert all(torch.equal(run[name], runs[0][name]) for run in runs for name in run)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("instructions", ["plain", "avx2"])
def test_the_other_instruction_sets(instructions: str) -> None:
    tests = f"{__file__}::test_outputs_and_gradients_equal_the_reference"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests]
    environment = {**os.environ, "EDGESEARCH_ISA": instructions, "TEST_CACHE": os.environ["XDG_CACHE_HOME"]}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize(
    ("model", "x", "words"),
    [
        (edgesearch.FastGRNN(2, 3, backend="fused", update_nonlinearity=torch.sin), torch.zeros(1, 1, 2), "a callable"),
        (edgesearch.FastGRNN(2, 3, backend="fused").half(), torch.zeros(1, 1, 2).half(), "float16 on cpu"),
    ],
)
def test_fused_where_it_cannot_be_is_an_error_and_auto_is_eager(model: RNN, x: Tensor, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        model(x)
    for cell in model.cells:
        cell.backend = "auto"  # type: ignore[assignment]
    assert model(x)[0].shape == (1, 1, 3)


def test_arguments_that_do_not_fit_are_refused() -> None:
    good = [a.detach() if isinstance(a, Tensor) else a for a in arguments("fastgrnn")]
    for position, wrong in (
        (3, torch.zeros(3, 5)),
        (4, torch.zeros(2, 8)),
        (5, torch.zeros(3)),
        (6, None),
        (9, None),
        (12, 9),
    ):
        bad = [*good[:position], wrong.double() if isinstance(wrong, Tensor) else wrong, *good[position + 1 :]]
        with pytest.raises(RuntimeError):
            torch.ops.edgesearch.rnn_forward(*bad)


TINY = build.Library("tiny", {"tiny.cpp": ()})


class TestBuild:
    @pytest.fixture(autouse=True)
    def fresh(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setattr(build, "sources", lambda: tmp_path / "sources")
        (tmp_path / "sources").mkdir()
        (tmp_path / "sources" / "tiny.cpp").write_text("int one() { return 1; }\n")

    def test_a_library_is_built_once_and_again_when_a_source_changes(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        first = build.built(TINY)
        assert "building the native op (tiny)" in capsys.readouterr().err
        assert build.built(TINY) == first
        assert capsys.readouterr().err == ""
        (tmp_path / "sources" / "tiny.cpp").write_text("int two() { return 2; }\n")
        assert build.built(TINY) != first

    @pytest.mark.parametrize("damage", ["truncated", "empty", "another bit", "without its digest", "another digest"])
    def test_a_damaged_library_is_built_again_once(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
    ) -> None:
        path = build.built(TINY)
        content, beside = path.read_bytes(), path.with_suffix(".sha256")
        assert capsys.readouterr().err.count("once for this machine") == 1
        if damage == "truncated":
            path.write_bytes(content[: len(content) // 2])
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "another bit":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        elif damage == "without its digest":
            beside.unlink()
        else:
            beside.write_bytes(b"\xff")
        assert build.built(TINY) == path
        assert capsys.readouterr().err.count("as the one in the cache is damaged") == 1
        ctypes.CDLL(str(path))
        assert build.built(TINY) == path
        assert capsys.readouterr().err == ""
        assert beside.read_text() == hashlib.sha256(path.read_bytes()).hexdigest()

    def test_a_source_that_does_not_compile_leaves_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "sources" / "tiny.cpp").write_text("int one() { return nothing; }\n")
        with pytest.raises(build.BuildError, match=r"must compile, got: .*nothing"):
            build.built(TINY)
        assert [path.suffix for path in (tmp_path / "edgesearch" / "ops").iterdir()] == [".lock"]

    def test_without_a_compiler_auto_warns_once_and_fused_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        monkeypatch.delenv("CXX", raising=False)
        monkeypatch.setattr(fused, "_load_op", cache(fused._load_op.__wrapped__))
        monkeypatch.setattr(fused, "_warn", cache(fused._warn.__wrapped__))
        x = torch.zeros(2, 1, 3)
        with pytest.warns(EdgesearchWarning, match=r"C\+\+20 compiler, got none.*eager"):
            edgesearch.FastGRNN(3, 4)(x)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            edgesearch.FastGRNN(3, 4)(x)
            with pytest.raises(ConfigError, match=r"cell\.backend=fused cannot be had"):
                edgesearch.FastGRNN(3, 4, backend="fused")(x)


def test_a_parametrized_matrix_goes_into_the_fused_op() -> None:
    layer, reference = (RNNS["fastgrnn"](3, 5, backend=backend, dtype=torch.float64) for backend in ("fused", "eager"))
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    for module in (layer, reference):
        l1_unstructured(module.cells[0], "W", amount=0.5)
    torch.testing.assert_close(layer(x)[0], reference(x)[0])


@pytest.mark.parametrize("size", [1e-3, 30.0, 1e4, 1e30, float("inf"), float("nan")])
@EVERY_CELL
def test_frames_of_any_size_give_what_the_reference_gives(name: str, options: dict[str, Any], size: float) -> None:
    for bias in (0.5, 15.0, -15.0, 60.0):
        cell = make(name, 1, 3, **options).float()
        for biased in cell.bias_names:
            torch.nn.init.constant_(getattr(cell, biased), bias)
        frames = torch.tensor([[[size], [-size]]]).repeat(2, 1, 1)
        with torch.no_grad():
            ours, theirs = fused.run(cell, frames, None)[0], unroll(cell, frames, None)[0]
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6, equal_nan=True)
