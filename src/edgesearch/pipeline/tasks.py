"""`task.name` to the function that does it."""

import importlib

from edgesearch.budget import memory_errors
from edgesearch.config import Config
from edgesearch.report.record import Record


def run_task(config: Config) -> Record:
    """Run the configured task; its results are printed, written to the run folder and returned."""
    limit_threads(config.train.threads)
    module = importlib.import_module(f"edgesearch.pipeline.{config.task.name}")
    with memory_errors("data, model or batch"):
        record: Record = getattr(module, config.task.name)(config)
    return record


def limit_threads(count: int | None) -> None:
    """Bound the threads of torch and of numpy's linear algebra; more than one costs more than it gives at H < 100."""
    import torch
    from threadpoolctl import threadpool_limits

    if count is not None:
        torch.set_num_threads(count)
        threadpool_limits(count)
