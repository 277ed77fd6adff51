"""More processes on this machine, each running the same command on the same study."""

import contextlib
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence

from edgesearch.errors import EdgesearchWarning

_PARENT = "EDGESEARCH_SEARCH_PARENT"
_INTERRUPTED = 130


def parent() -> int | None:
    """Return the process that started this one as a worker, None if a user did."""
    found = os.environ.get(_PARENT)
    return int(found) if found else None


@contextlib.contextmanager
def workers(count: int, command: Sequence[str]) -> Iterator[None]:
    """Run `count` processes of the command beside the body; wait for them after it.

    An exception in the body, as of Ctrl-C, interrupts them: each gives its trial back. Those of a killed parent stop by
    themselves. A worker that dies is reported; its trial is taken up by another one.
    """
    environment = os.environ | {_PARENT: str(os.getpid())}
    environment.pop("HYDRA_FULL_ERROR", None)  # set by the command line itself; each process decides
    call = [sys.executable, "-m", "edgesearch", *command, "progress=false"]
    started = [
        subprocess.Popen(call, env=environment, stdout=subprocess.DEVNULL, start_new_session=True) for _ in range(count)
    ]
    try:
        yield
    except BaseException:
        for process in started:
            process.send_signal(signal.SIGINT)
        for process in started:
            process.wait()
        raise
    for process in started:
        code = process.wait()
        if code not in (0, _INTERRUPTED):
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            warnings.warn(f"a worker {how}; the others did its work", EdgesearchWarning, stacklevel=2)
