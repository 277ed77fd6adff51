"""`task.name` to the function that does it."""

from edgesearch.config import Config


def run_task(config: Config) -> None:
    """Run the configured task; results are printed and written to its run folder."""
    _limit_threads(config.train.threads)
    if config.task.name == "train":
        from edgesearch.pipeline.train import train

        train(config)
    else:
        from edgesearch.pipeline.test import test

        test(config)


def _limit_threads(count: int | None) -> None:
    """Bound the threads of torch and of numpy's linear algebra; more than one costs more than it gives at H < 100."""
    import torch
    from threadpoolctl import threadpool_limits

    if count is not None:
        torch.set_num_threads(count)
        threadpool_limits(count)
