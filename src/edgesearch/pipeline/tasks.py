"""`task.name` to the function that does it."""

from edgesearch.config import Config


def run_task(config: Config) -> None:
    """Run the configured task; results are printed and written to its run folder."""
    if config.task.name == "train":
        from edgesearch.pipeline.train import train

        train(config)
    else:
        from edgesearch.pipeline.test import test

        test(config)
