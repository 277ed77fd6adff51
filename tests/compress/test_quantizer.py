"""From a float model to integers: floats equal the classifier, fake quantisation equals the interpreter exactly."""

import copy
import itertools
import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgesearch.cells.classifier import Classifier, build_classifier
from edgesearch.cells.spec import ModelSpec
from edgesearch.compress.build import build_graph
from edgesearch.compress.executor import Executor
from edgesearch.compress.quantizer import Quantizer
from edgesearch.config.schema import NONLINEARITIES, RANGES
from edgesearch.errors import ConfigError, DataError, EdgesearchError, ModelFileError
from edgesearch.numerics.format import Ints
from edgesearch.numerics.interpreter import input_integers, run

T, D = 4, 5
CELLS = [(name, False) for name in ("fastrnn", "fastgrnn", "ugrnn", "gru", "lstm")] + [("gru", True)]


class Shape(NamedTuple):
    hidden: int = 7
    low: bool = False
    layers: int = 1


SHAPES = [Shape(low=low, layers=layers) for low in (False, True) for layers in (1, 2)]
PAIRS = [(gate, NONLINEARITIES[(k + 1) % 6]) for k, gate in enumerate(NONLINEARITIES)]


def classifier(
    cell: tuple[str, bool], shape: Shape, gate: str = "sigmoid", update: str = "tanh", seed: int = 0
) -> Classifier:
    """A float64 classifier of 3 classes with random numbers everywhere, statistics of its input included."""
    torch.manual_seed(seed)
    ranks = (min(3, shape.hidden), min(4, shape.hidden)) if shape.low else (None, None)
    spec = ModelSpec(cell[0], T, D, shape.hidden, 3, shape.layers, wRank=ranks[0], uRank=ranks[1], reset_after=cell[1],
                     gate_nonlinearity=gate, update_nonlinearity=update)  # fmt: skip
    model = build_classifier(spec, backend="eager").double()
    for parameter in model.parameters():
        parameter.data.normal_(std=0.5)
    model.input_mean, model.input_std = torch.randn(D).double(), torch.rand(D).double() + 0.3
    return model


def logits_of(model: Classifier, x: Tensor) -> Tensor:
    """What the classifier gives for raw sequences."""
    if model.input_mean is not None and model.input_std is not None:
        x = (x - model.input_mean) / model.input_std
    with torch.no_grad():
        return torch.Tensor(model(x))


def sequences(rows: int = 16, spread: float = 1.0) -> Tensor:
    return spread * torch.randn(T, rows, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("names", PAIRS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_without_formats_it_is_the_classifier(cell: tuple[str, bool], shape: Shape, names: tuple[str, str]) -> None:
    model, x = classifier(cell, shape, *names), sequences()
    with torch.no_grad():
        torch.testing.assert_close(Executor(build_graph(model, T))(x), logits_of(model, x), rtol=1e-9, atol=1e-9)
        model.input_mean = model.input_std = None
        torch.testing.assert_close(Executor(build_graph(model, T))(x), logits_of(model, x), rtol=1e-9, atol=1e-9)


def calibrated(model: nn.Module, x: Tensor, bits: int = 8, **options: Any) -> Quantizer:
    quantizer = Quantizer(model, bits, **options)
    quantizer.model(x)
    return quantizer


def assert_fake_quantisation_is_exact(quantizer: Quantizer, x: Tensor) -> None:
    program = quantizer.program
    formats = {name: program.format(name) for name in (*program.values, *program.constants)}
    fake: list[tuple[str, Tensor]] = []
    exact: list[tuple[str, Ints]] = []

    with torch.no_grad():
        Executor(quantizer.graph, formats, program.tables)(x, lambda name, value: fake.append((name, value)))
    run(program, input_integers(program, x.numpy()), lambda _, o, integers: exact.append((o.out, integers)))
    fake = [pair for pair in fake if pair[0] != "input"]
    assert len(exact) == program.steps * len(program.step) + len(program.head)
    for (name, numbers), (same, integers) in zip(fake, exact, strict=True):
        assert name == same
        np.testing.assert_array_equal(np.ldexp(numbers.numpy(), formats[name].fraction), integers, err_msg=name)


@pytest.mark.parametrize("case", list(enumerate(itertools.product(CELLS, SHAPES))), ids=str)
def test_fake_quantisation_equals_the_interpreter(case: tuple[int, tuple[tuple[str, bool], Shape]]) -> None:
    k, (cell, shape) = case
    for j, (gate, update) in enumerate((("sigmoid", "tanh"), PAIRS[k % 6], PAIRS[(k + 3) % 6])):
        model = classifier(cell, shape, gate, update, seed=k)
        bits, activations = ((8, 16), (4, 8), (16, 16), (3, 12), (2, 9))[(k + j) % 5]
        quantizer = calibrated(model, sequences(), bits, activation_bits=activations, range=RANGES[(k + j) % 3])
        assert_fake_quantisation_is_exact(quantizer, sequences(40, spread=4.0))


@pytest.mark.parametrize("size", [1e-4, 1e-9, 1e-13, 1e-30, 0.0])
@pytest.mark.parametrize("cell", CELLS)
def test_tiny_biases_neither_widen_sums_beyond_reason_nor_change_them(cell: tuple[str, bool], size: float) -> None:
    model = classifier(cell, Shape())
    for name, parameter in model.named_parameters():
        if ".B" in name or name == "FCbias":
            parameter.data.mul_(size)
    assert_fake_quantisation_is_exact(calibrated(model, sequences()), sequences(200, spread=2.0))


def test_16_bits_come_close_to_the_float_model() -> None:
    for cell in CELLS:
        model, x = classifier(cell, Shape(33)), sequences(100)
        quantizer = calibrated(model, x, 16, function_error=2e-4)
        logits = run(quantizer.program, input_integers(quantizer.program, x.numpy())).logits
        numbers = quantizer.program.format("logits").numbers(logits)
        np.testing.assert_allclose(numbers, logits_of(model, x).numpy(), rtol=0, atol=0.02)


def test_answers_that_are_always_positive_at_8_bits_have_a_table() -> None:
    model = classifier(("fastrnn", False), Shape())
    for name, value in (("W", 0.01), ("U", 0.01), ("B", 3.0)):
        model.get_parameter(f"rnn.cells.0.{name}").data.fill_(value)
    assert_fake_quantisation_is_exact(calibrated(model, sequences(), activation_bits=8), sequences(spread=1e4))


@pytest.mark.filterwarnings("ignore:channel")  # (all but one row are constant)
@pytest.mark.parametrize("update", ["tanh", "quantTanh"])
def test_a_rare_negative_value_keeps_its_sign_at_8_bits(update: str) -> None:
    model = classifier(("fastrnn", False), Shape(hidden=1), update=update)
    model.input_mean = model.input_std = None
    for name, value in (("B", 0.0), ("U", 0.0), ("W", 1.0), ("alpha", 9.0), ("beta", -9.0)):
        model.get_parameter(f"rnn.cells.0.{name}").data.fill_(value)
    x = torch.full((T, 20000, D), 0.1, dtype=torch.float64)
    x[:, 777] = -0.1
    program = calibrated(model, x, activation_bits=8).program
    h = run(program, input_integers(program, x[:, 776:779].numpy())).states["l0_h"][:, 0]
    np.testing.assert_allclose(program.format("l0_h").numbers(h), [0.48, -0.48, 0.48], atol=0.04)


class Net(nn.Module):
    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], layers: int, batch_first: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.rnn = kind(D, 9, layers, batch_first=batch_first, dropout=0.1 if layers > 1 else 0.0, dtype=dtype)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(9, 3, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        output = self.rnn(x)[0]
        return torch.Tensor(self.head(self.drop(output[:, -1] if self.rnn.batch_first else output[-1])))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
def test_torch_models_are_quantised_in_three_lines(
    kind: type[nn.LSTM] | type[nn.GRU], layers: int, batch_first: bool, dtype: torch.dtype, close: float, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model, raw = Net(kind, layers, batch_first, dtype).eval(), sequences(200, 2.0)
    x = (raw.transpose(0, 1) if batch_first else raw).to(dtype)

    quantizer = Quantizer(model, mode="calibrate")
    calibrating = quantizer.model(x)
    quantizer.save(tmp_path)
    tested = Quantizer(model, mode="test", load=tmp_path)
    logits = tested.model(x).detach()
    with torch.no_grad():
        expected = model(x)
    for found in (calibrating.detach(), Quantizer(model, mode="off").model(x).detach()):
        torch.testing.assert_close(found, expected, rtol=0, atol=close)
    torch.testing.assert_close(logits, expected, rtol=0, atol=0.05)
    program = tested.program
    integers = input_integers(program, raw.to(dtype).double().numpy())
    exact = program.format("logits").numbers(run(program, integers).logits)
    np.testing.assert_array_equal(logits.double().numpy(), exact)
    formats = json.loads((tmp_path / "quant_info.json").read_text(encoding="utf-8"))["formats"]
    assert formats == {name: str(program.format(name)) for name in (*program.values, *program.constants)}


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_calibration_data_must_be_finite(number: float) -> None:
    x = sequences()
    x[2, 3, 1] = number
    with pytest.raises(DataError, match="finite"):
        calibrated(classifier(("gru", True), Shape()), x)


def test_data_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    quantizer = Quantizer(classifier(("gru", True), Shape()))
    with pytest.raises(ConfigError, match="has not seen any data"):
        quantizer.save(tmp_path)
    with pytest.raises(DataError, match="calibration"):
        quantizer.model(sequences(0))
    with pytest.raises(ConfigError, match=f"got {T - 1} frames after {T}"):
        quantizer.model(sequences()[1:])
    calibrated(quantizer.classifier, sequences()).save(tmp_path)
    with pytest.raises(EdgesearchError, match="calibra"):
        Quantizer(classifier(("lstm", False), Shape()), mode="test", load=tmp_path).model(sequences())
    model = classifier(("fastgrnn", False), Shape())
    model.input_mean, model.input_std = torch.randn(T * D).double(), torch.ones(T * D).double()
    with pytest.raises(EdgesearchError, match="mean"):
        calibrated(model, sequences())


@pytest.mark.parametrize(
    "layers",
    [(nn.RNN(D, 4), nn.Linear(4, 2)), (nn.Conv1d(1, 1, 1), nn.LSTM(D, 4), nn.Linear(4, 2)),
     (nn.LSTM(D, 4), nn.GRU(4, 4), nn.Linear(4, 2)), (nn.LSTM(D, 4),), (nn.Linear(D, 2),),
     (nn.LSTM(D, 4), nn.Linear(4, 4), nn.Linear(4, 2)), (nn.LSTM(D, 4, bidirectional=True), nn.Linear(8, 2)),
     (nn.GRU(D, 4), nn.Linear(5, 2))],
    ids=lambda layers: "+".join(type(layer).__name__ for layer in layers),
)  # fmt: skip
def test_other_models_are_refused(layers: tuple[nn.Module, ...]) -> None:
    with pytest.raises(ConfigError, match=r"^[^\n]+;[^\n]+$"):
        Quantizer(nn.ModuleList(layers))


@pytest.mark.parametrize(
    ("options", "words"),
    [({"mode": "test"}, "load"), ({"load": "x"}, "mode"), ({"mode": "off", "load": "x"}, "mode=off"),
     ({"mode": "tset"}, "tset"), ({"bits": 1}, "bits must"), ({"bits": 17}, "bits must"), ({"bits": "8"}, "bits must"),
     ({"activation_bits": 7}, "activation_bits must"), ({"activation_bits": 17}, "activation_bits must"),
     ({"range": "most"}, "range"), ({"named": {"l7_W": 8}}, "l7_W is no tensor"), ({"named": {"l0_W_0": 0}}, "l0_W_0"),
     ({"named": {"l0_W_0": 40}}, "l0_W_0")],
    ids=str,
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        calibrated(classifier(("gru", True), Shape()), sequences(), **options).program  # noqa: B018


def test_named_tensors_have_their_own_bits() -> None:
    program = calibrated(classifier(("gru", True), Shape()), sequences(), named={"l0_W_0": 4, "l0_z": 9}).program
    assert [program.format(name).bits for name in ("l0_W_0", "l0_W_1", "l0_z")] == [4, 8, 9]


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"steps": 4}', '{"steps": 4, "ranges": {"x": 3}}', "\x00"])
def test_ranges_that_cannot_be_read_are_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "quant_info.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelFileError, match=r"^[^\n]+quant_info\.json[^\n]+$"):
        Quantizer(classifier(("gru", True), Shape()), mode="test", load=tmp_path)


def test_a_module_that_computes_something_else_is_refused() -> None:
    class Averaging(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(D, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(self.lstm(x)[0].mean(dim=0))
            return logits

    with pytest.raises(ConfigError, match="computes something else"):
        Quantizer(Averaging()).model(torch.randn(T, 3, D))


def test_ranges_of_another_model_are_refused(tmp_path: Path) -> None:
    calibrated(classifier(("lstm", False), Shape()), sequences()).save(tmp_path)
    with pytest.raises(ModelFileError, match="ranges of another model"):
        Quantizer(classifier(("gru", True), Shape()), mode="test", load=tmp_path)


class Ragged(nn.Module):
    """Reads the length of a sequence off its padding, which is all -9."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(D, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        last = (x != -9).all(dim=2).sum(dim=0) - 1
        return torch.Tensor(self.head(self.gru(x)[0][last, torch.arange(x.size(1))]))


@pytest.mark.parametrize("mode", ["calibrate", "test"])
def test_every_batch_is_compared_with_the_module(mode: Literal["calibrate", "test"], tmp_path: Path) -> None:
    model, whole = Ragged(), sequences(8).float()
    padded = whole.clone()
    padded[2:, 5] = -9
    calibrating = calibrated(model, whole)
    calibrating.save(tmp_path)
    quantizer = Quantizer(model, mode=mode, load=tmp_path if mode == "test" else None)
    for _ in range(9 if mode == "calibrate" else 2):
        quantizer.model(whole)
    with pytest.raises(ConfigError, match=r"^the model computes something else [^\n]+$"):
        quantizer.model(padded)


def test_a_module_of_large_frames_is_compared_as_closely_as_its_floats_allow() -> None:
    torch.manual_seed(0)
    model, x = Net(nn.LSTM, 1, False, torch.float32).eval(), 1e7 + 300 * sequences(50).float()
    model.rnn.get_parameter("weight_ih_l0").data.div_(300)
    model.rnn.get_parameter("bias_ih_l0").data.sub_(model.rnn.get_parameter("weight_ih_l0").data.sum(dim=1) * 1e7)
    calibrated(model, x)


def test_a_float_module_takes_doubles() -> None:
    torch.manual_seed(0)
    model, x = Net(nn.GRU, 1, False, torch.float32).eval(), sequences()
    with torch.no_grad():
        torch.testing.assert_close(calibrated(model, x).model(x).float(), model(x.float()), rtol=0, atol=1e-5)


@pytest.mark.parametrize("changed", ["rnn.cells.0.U", "FCbias", "input_mean", "input_std", None])
def test_ranges_of_other_weights_are_refused(changed: str | None, tmp_path: Path) -> None:
    model = classifier(("gru", True), Shape())
    calibrated(model, sequences()).save(tmp_path)
    same = copy.deepcopy(model)
    Quantizer(same, mode="test", load=tmp_path)
    if changed in ("input_mean", "input_std"):
        getattr(same, changed)[1] *= 1.001
    elif changed is not None:
        same.get_parameter(changed).data.reshape(-1)[1] *= 1.001
    else:
        same.input_mean = same.input_std = None
    words = (
        r"^[^\n]+quant_info\.json must hold the ranges of these weights, [^\n]+got [^\n]+; [^\n]+calibrate again[^\n]+$"
    )
    with pytest.raises(ModelFileError, match=words if changed else "ranges of another model"):
        Quantizer(same, mode="test", load=tmp_path)


def test_ranges_without_a_digest_are_taken(tmp_path: Path) -> None:
    model, x = classifier(("lstm", False), Shape()), sequences()
    expected = calibrated(model, x)
    expected.save(tmp_path)
    info = json.loads((tmp_path / "quant_info.json").read_text(encoding="utf-8"))
    del info["weights"]
    (tmp_path / "quant_info.json").write_text(json.dumps(info), encoding="utf-8")
    program = Quantizer(model, mode="test", load=tmp_path).program
    assert np.array_equal(program.run(x.numpy()).logits, expected.program.run(x.numpy()).logits)


def edited(found: Any, path: tuple[str, ...], value: Any) -> Any:
    """The JSON value with `value` at a path of keys, without that key for `...`."""
    if not path:
        return value
    inner = {**found, path[0]: edited(found.get(path[0], {}), path[1:], value)}
    return {key: item for key, item in inner.items() if item is not ...}


WRONG: tuple[Any, ...] = (..., None, True, "x\x1b\n", -1, 1e300, 10**400, [], {}, [[]], [None], [1.0, "x"], {"x": [1]})
PLACES = [(), ("steps",), ("sizes",), ("widths",), ("ranges",), ("widths", "named"), ("widths", "range"),
          ("widths", "weights"), ("widths", "activations"), ("widths", "function_error"), ("ranges", "input"),
          ("ranges", "input", "largest"), ("ranges", "input", "count"), ("ranges", "input", "sample"),
          ("frames", "low"), ("frames", "deviation"), ("frames", "count"), ("frames", "rows")]  # fmt: skip


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_saved_ranges_of_another_shape_are_one_line(tmp_path: Path, place: tuple[str, ...]) -> None:
    model = classifier(("fastgrnn", False), Shape())
    quantizer = Quantizer(model)
    quantizer.model(torch.randn(T, 20, D).double())
    quantizer.save(tmp_path)
    path = tmp_path / "quant_info.json"
    sound = json.loads(path.read_text())
    assert sound["ranges"]["input"]["count"] == T * 20 * D
    for value in WRONG:
        if (place, value) in (((), ...), (("widths", "named"), {})):
            continue
        path.write_text(json.dumps(edited(sound, place, value)))
        with pytest.raises((ModelFileError, ConfigError)) as caught:
            Quantizer(model, mode="test", load=tmp_path).program  # noqa: B018
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 400 + len(str(path))


@pytest.mark.parametrize("content", ["[" * 100_000, '{"steps": 1e999}', '{"x": [' + "[]," * 600_000 + "0]}"])
def test_saved_ranges_that_exhaust_a_reader_are_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "quant_info.json").write_text(content)
    with pytest.raises(ModelFileError, match=r"quant_info\.json must be a quantiser's ranges, got [^\n]+; save them"):
        Quantizer(classifier(("fastgrnn", False), Shape()), mode="test", load=tmp_path)


def test_saved_ranges_are_a_regular_file(tmp_path: Path) -> None:
    model = classifier(("fastgrnn", False), Shape())
    (tmp_path / "quant_info.json").symlink_to("/dev/zero")
    with pytest.raises(ModelFileError, match="no regular file"):
        Quantizer(model, mode="test", load=tmp_path)
    with pytest.raises(ModelFileError, match="No such file"):
        Quantizer(model, mode="test", load=tmp_path / "absent")
