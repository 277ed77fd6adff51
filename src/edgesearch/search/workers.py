"""More processes on this machine, each running the same command on the same study."""

import contextlib
import os
import select
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence

from edgesearch.errors import EdgesearchWarning

_WORKER = "EDGESEARCH_SEARCH_WORKER"


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_worker() -> bool:
    """Tell whether another search started this process."""
    return _WORKER in os.environ


def dismissed() -> bool:
    """Tell whether a worker's standard input has ended: it is told to stop, or what started it is no more."""
    return bool(is_worker() and select.select([sys.stdin], [], [], 0)[0])


@contextlib.contextmanager
def workers(count: int, command: Sequence[str]) -> Iterator[None]:
    """Run `count` processes of the command beside the body; wait for them after it.

    After an exception in the body, as of Ctrl-C, they stop at the end of an epoch and give their trials back; so do
    those of a killed parent. A worker that dies is reported; its trial is taken up by another one.
    """
    environment = os.environ | {_WORKER: "1"}
    environment.pop("HYDRA_FULL_ERROR", None)  # set by the command line itself; each process decides
    call = [sys.executable, "-m", "edgesearch", *command, "progress=false"]
    started = [
        subprocess.Popen(
            call, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )
        for _ in range(count)
    ]
    try:
        yield
        codes = [process.wait() for process in started]
    except BaseException:
        try:
            for process in started:
                process.communicate()  # ends its input, and waits
        except BaseException:
            for process in started:
                process.kill()
            raise
        raise
    for code in codes:
        if code != 0:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            warnings.warn(f"a worker {how}; the others did its work", EdgesearchWarning, stacklevel=2)
