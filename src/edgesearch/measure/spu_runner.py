"""Runs an exported program.py over secret shares with SecretFlow SPU: `PYTHON spu_runner.py JOB.json`.

A script of its own: it runs in SPU's environment, by path, and imports nothing of edgesearch. A job is one party
(`rank`), or all of them as threads of this process. Party 0 owns the model, party 1 the data, a third owns nothing.
Each owner reads its own file and sends the others their shares over the link; party 1 puts the logits together.
"""

import importlib.util
import json
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import spu
from spu.utils import frontend

MODEL, DATA = 0, 1  # ranks
SECRET = spu.Visibility.VIS_SECRET


def main(job: dict[str, Any]) -> None:
    """Run a job; its keys are those of `measure.secure.Job`."""
    jax.config.update("jax_enable_x64", True)
    program = _program(Path(job["program"]))
    started = time.perf_counter()
    executable = _executable(program, job["batch"])
    compiled = time.perf_counter() - started
    links = spu.libspu.link
    desc = links.Desc()
    desc.recv_timeout_ms, desc.connect_retry_times = 600_000, 600
    for rank, address in enumerate(job["addresses"]):
        desc.add_party(f"party{rank}", address)
    if job["rank"] is not None:
        party = Party(job, job["rank"], links.create_brpc(desc, job["rank"]), program, executable)
        party.run()
        party.link.stop_link()
        parties = [party]
    else:
        parties = [Party(job, rank, None, program, executable) for rank in range(len(job["addresses"]))]
        _together([lambda p=p: p.connect(links.create_mem(desc, p.rank)) for p in parties])
    for party in parties:
        if party.rank == DATA:
            np.save(job["logits"], party.logits)
    seconds = max(party.seconds for party in parties)
    told = {"compile_seconds": compiled, "seconds": seconds, "shared_bytes": sum(p.sent for p in parties)}
    Path(job["told"]).write_text(json.dumps(told), encoding="utf-8")


class Party:
    """One party: its runtime, its link and what it owns."""

    def __init__(self, job: dict[str, Any], rank: int, link: Any, program: Any, executable: Any) -> None:
        self.job, self.rank, self.link, self.program, self.executable = job, rank, link, program, executable
        kind = getattr(spu.ProtocolKind, job["protocol"].upper())
        self.config = spu.RuntimeConfig(protocol=kind, field=spu.FieldType.FM64)
        self.config.enable_pphlo_profile = True  # (which logs what the link has sent in a run)
        self.world = len(job["addresses"])
        self.io = spu.Io(self.world, self.config)
        self.sent = 0
        self.seconds = 0.0
        self.logits = np.zeros((0, program.CLASSES), np.int64)

    def connect(self, link: Any) -> None:
        """Run over this link."""
        self.link = link
        self.run()

    def run(self) -> None:
        """Share, compute and reveal every batch."""
        names, rows, batch = list(self.program.SHAPES), self.job["rows"], self.job["batch"]
        model = _read(self.job["model"], names) if self.rank == MODEL else None
        data = _read(self.job["data"], ["windows"])[0] if self.rank == DATA else None
        runtime = spu.Runtime(self.link, self.config)
        self.link.barrier()
        started = time.perf_counter()
        self._share(runtime, names, model, MODEL)
        for start in range(0, rows, batch):
            self._share(runtime, ["windows"], None if data is None else [_padded(data[start:], batch)], DATA)
            runtime.run(self.executable)
            self._reveal(runtime, min(batch, rows - start))
        self.seconds = time.perf_counter() - started

    def _share(self, runtime: Any, names: list[str], arrays: list[Any] | None, owner: int) -> None:
        """Set each party's share of the owner's arrays; the others have None for them."""
        if arrays is None:
            own = _unpacked(self.link.recv(owner))
        else:
            shares = [self.io.make_shares(array, SECRET) for array in arrays]
            for rank in range(self.world):
                if rank != owner:
                    self._send(rank, [share[rank] for share in shares])
            own = [share[owner] for share in shares]
        for name, share in zip(names, own, strict=True):
            runtime.set_var(name, share)

    def _reveal(self, runtime: Any, rows: int) -> None:
        own = runtime.get_var("logits")
        if self.rank != DATA:
            self._send(DATA, [own])
            return
        shares = [own if rank == DATA else _unpacked(self.link.recv(rank))[0] for rank in range(self.world)]
        self.logits = np.concatenate([self.logits, self.io.reconstruct(shares)[:rows]])

    def _send(self, rank: int, shares: list[Any]) -> None:
        packed = _packed(shares)
        self.sent += len(packed)
        self.link.send(rank, packed)


def _program(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("program", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _executable(program: Any, batch: int) -> Any:
    """Compile `run` for windows of a batch; every party does so from the same public file."""
    names = [*program.SHAPES, "windows"]
    shapes = [*program.SHAPES.values(), (batch, program.STEPS, program.INPUTS)]
    structures = [jax.ShapeDtypeStruct(shape, np.int64) for shape in shapes]

    def run(*arrays: Any) -> Any:
        model = dict(zip(names[:-1], arrays[:-1], strict=True))
        return program.run(jnp, model, arrays[-1], jax.lax.fori_loop)

    visible = [SECRET] * len(names)
    return frontend.compile(frontend.Kind.JAX, run, structures, {}, names, visible, lambda _: ["logits"])[0]


def _read(path: str, names: list[str]) -> list[Any]:
    with np.load(path, allow_pickle=False) as file:
        return [np.ascontiguousarray(file[name], np.int64) for name in names]


def _padded(windows: Any, batch: int) -> Any:
    short = batch - len(windows[:batch])
    return np.pad(windows[:batch], ((0, short), (0, 0), (0, 0)))


def _packed(shares: list[Any]) -> bytes:
    """Frames, each with its length before it: number of chunks, description, chunks, share by share."""
    frames = []
    for share in shares:
        frames += [struct.pack("<I", len(share.share_chunks)), share.meta, *share.share_chunks]
    return b"".join(struct.pack("<I", len(frame)) + frame for frame in frames)


def _unpacked(message: bytes) -> list[Any]:
    frames, at = [], 0
    while at < len(message):
        (size,) = struct.unpack_from("<I", message, at)
        frames.append(message[at + 4 : at + 4 + size])
        at += 4 + size
    shares = []
    while frames:
        (chunks,) = struct.unpack("<I", frames[0])
        share = spu.libspu.Share()
        share.meta, share.share_chunks = frames[1], frames[2 : 2 + chunks]
        shares.append(share)
        frames = frames[2 + chunks :]
    return shares


def _together(calls: list[Any]) -> None:
    """Run calls in threads; raise what one of them raised."""
    errors: list[BaseException] = []

    def guarded(call: Any) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001  (it is raised again below)
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) and not errors:
        threads[0].join(0.05)
        time.sleep(0.01)
    if errors:
        raise errors[0]


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
