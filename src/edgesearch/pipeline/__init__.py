"""Layer 9: the tasks a user can ask for."""

from edgesearch.pipeline.tasks import run_task

__all__ = ["run_task"]
