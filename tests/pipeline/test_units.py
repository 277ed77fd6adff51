"""Sensors of different units in one frame, from data to compiled C: integers keep what floats know, or a line says so."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgesearch.errors import EdgesearchWarning
from edgesearch.pipeline.train import train
from tests.conftest import composed

T, CHANNELS = 10, 3
Numbers = npt.NDArray[np.float64]
Units = Callable[[Numbers], Numbers]


def signals(rows: int, seed: int) -> tuple[Numbers, npt.NDArray[np.int64]]:
    """Windows of three channels of deviation 1, each of which carries one of a label's three bits."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 2**CHANNELS
    bits = (y[:, None] >> np.arange(CHANNELS)) & 1
    ramp = np.linspace(-1.2, 1.2, T)[None, :, None]
    return (2 * bits[:, None, :] - 1) * ramp + 0.7 * rng.normal(size=(rows, T, CHANNELS)), y


def in_units(offsets: list[float], scales: list[float]) -> Units:
    return lambda s: np.array(offsets) + np.array(scales) * s


def heavy(s: Numbers) -> Numbers:
    """Counts that differ by orders of magnitude."""
    return np.stack([np.round(np.exp(2.0 * s[..., 0] + 5)), s[..., 1], 20 + 5 * s[..., 2]], axis=-1)


def spiked(s: Numbers) -> Numbers:
    """A sensor that says 99999 where it has nothing to say, once in thousands of frames."""
    found = np.array([1013.0, 20.0, 0.0]) + np.array([3.0, 5.0, 1.0]) * s
    flat = found.reshape(-1, CHANNELS)
    flat[::3001, 0] = 99999.0
    return found


SETS: dict[str, Units] = {
    "g, Pa, deg C": in_units([0.0, 101325.0, 20.0], [1.0, 300.0, 5.0]),
    "g, lux, deg C": in_units([0.0, 50000.0, 20.0], [1.0, 20000.0, 5.0]),
    "deg C, %, Pa": in_units([20.0, 50.0, 101325.0], [0.5, 10.0, 40.0]),
    "all times 1e8": in_units([0.0] * 3, [1e8] * 3),
    "all times 1e9": in_units([0.0] * 3, [1e9] * 3),
    "all times 1e-9": in_units([0.0] * 3, [1e-9] * 3),
    "all times 1e36": in_units([0.0] * 3, [1e36] * 3),
    "1e-3, 1, 1e3": in_units([0.0] * 3, [1e-3, 1.0, 1e3]),
    "1e-9, 1, 1e6": in_units([0.0] * 3, [1e-9, 1.0, 1e6]),
    "epoch seconds beside noise": in_units([1.7e9, 0.0, 0.0], [900.0, 1.0, 1.0]),
    "epoch milliseconds, V, A": in_units([1.7e12, 3.3, 0.02], [5e4, 0.1, 0.004]),
    "a 24-bit converter's counts": in_units([8388608.0, 120000.0, -30.0], [700.0, 40000.0, 5.0]),
    "T, rpm, hPa": in_units([4e-5, 3000.0, 1013.25], [6e-6, 800.0, 2.0]),
    "altitude from a barometer": in_units([101325.0, 101300.0, 0.0], [9.0, 9.0, 0.02]),
    "counts over orders of magnitude": heavy,
    "a sentinel among hectopascals": spiked,
}


@pytest.mark.parametrize("bits", [16, 8])
@pytest.mark.parametrize("name", SETS)
def test_integers_and_c_keep_what_floats_know(tmp_path: Path, name: str, bits: int) -> None:
    arrays = {}
    for part, rows in (("train", 400), ("test", 800)):
        s, y = signals(rows, seed=len(part))
        arrays |= {f"x_{part}": SETS[name](s), f"y_{part}": y}
    np.savez(tmp_path / "set.npz", **arrays)
    config = composed(
        "data=npy", f"data.path={tmp_path / 'set.npz'}", f"outputs_dir={tmp_path}", "progress=false", "cell.hidden_size=10",
        "schedule=dense", "train.epochs=15", "train.batch_size=40", f"quant.activation_bits={bits}",
    )  # fmt: skip
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", EdgesearchWarning)
        record = train(config)
    accuracy = record["test_accuracy"]
    print(name, bits, accuracy, record["formats"]["input"], [str(w.message) for w in said])
    assert accuracy["fake_quant"] == accuracy["integer"] == accuracy["c"]
    assert accuracy["float"] > (0.4 if SETS[name] in (heavy, spiked) else 0.85)
    assert accuracy["integer"] >= accuracy["float"] - 0.01 or any("channel" in str(w.message) for w in said)
