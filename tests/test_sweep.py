"""kill -9 in the middle of a sweep: the same command finishes it, and nothing finished is trained again."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

SWEEP = ("-m", "seed=0,1,2", "cell.hidden_size=6", "train.epochs=24", "train.checkpoint_seconds=0")


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edgesearch", *SWEEP, f"outputs_dir={folder}", "progress=false"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})


def runs(folder: Path) -> dict[int, Path]:
    found = {}
    for path in folder.glob("digits/fastgrnn/*/record.json"):
        found[int(json.loads(path.read_text())["seed"])] = path.parent
    return found


def stamp(run: Path) -> int:
    return (run / "record.json").stat().st_mtime_ns


def best_weights(run: Path) -> dict[str, Tensor]:
    return dict(torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"])


def wait_until_second_run_is_half_done(process: subprocess.Popen[str], folder: Path) -> None:
    """Return once one run is finished and another one has written several epochs."""
    while process.poll() is None:
        done = runs(folder)
        others = [path for path in folder.glob("digits/fastgrnn/*/metrics.csv") if path.parent not in done.values()]
        if done and others and len(others[0].read_text().splitlines()) > 8:
            return
    raise AssertionError(f"the sweep ended before it could be killed: {process.stderr and process.stderr.read()}")


def test_a_killed_sweep_is_finished_by_the_same_command(tmp_path: Path) -> None:
    process = start(tmp_path / "killed")
    wait_until_second_run_is_half_done(process, tmp_path / "killed")
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished_before = {
        seed: (path / "record.json").stat().st_mtime_ns for seed, path in runs(tmp_path / "killed").items()
    }
    assert 1 <= len(finished_before) < 3

    again, whole = start(tmp_path / "killed"), start(tmp_path / "whole")
    assert again.wait() == 0
    assert whole.wait() == 0

    killed, reference = runs(tmp_path / "killed"), runs(tmp_path / "whole")
    assert killed.keys() == reference.keys() == {0, 1, 2}
    for seed, before in finished_before.items():
        assert stamp(killed[seed]) == before
    resumed = [json.loads((killed[seed] / "record.json").read_text())["resumed_at"] for seed in (0, 1, 2)]
    assert sum(at is not None and at > 0 for at in resumed) == 1
    for seed, path in killed.items():
        ours, theirs = best_weights(path), best_weights(reference[seed])
        for name, value in theirs.items():
            assert torch.equal(ours[name], value), (seed, name)
        rows = (path / "metrics.csv").read_text().splitlines()
        assert [row.split(",")[0] for row in rows[1:]] == [str(epoch) for epoch in range(24)]
