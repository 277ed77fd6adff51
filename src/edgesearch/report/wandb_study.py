"""A study on Weights & Biases: a summary run beside the trials' runs, and a workspace that shows them."""

import warnings
from pathlib import Path
from typing import Any

import wandb

from edgesearch.config import Config
from edgesearch.errors import EdgesearchWarning
from edgesearch.report.charts import parallel
from edgesearch.report.page import document, page
from edgesearch.report.study import StudyView, TrialView
from edgesearch.report.wandb_logger import open_run

_COSTS = ("weight_bits", "activation_bits", "flash_bytes", "ram_bytes", "macs")


def log_study(config: Config, view: StudyView, folder: Path) -> None:
    """Log the trial table, the Pareto plot, parallel coordinates and the report; online also make the workspace.

    The run is in the group of the trials' runs; config.logger.group names it.
    """
    run = open_run(config, folder, name=view.name, job_type="study")
    run.log(
        {
            "trials": _trials(view),
            "pareto": wandb.plot.scatter(
                _programs(view), "flash_bytes", f"val_{view.metric}", title=f"{view.words} against flash"
            ),
            "parallel_coordinates": wandb.Html(document(view.name, parallel(view)), inject=False),
            "report": wandb.Html(page(view), inject=False),
        }
    )
    if view.summary is not None:
        best = view.summary["best"]
        kinds = ("trained", "infeasible", "pruned", "failed", "seconds")
        run.summary.update({kind: view.summary[kind] for kind in kinds})
        if best is not None:
            run.summary.update({name: best[name] for name in (*_COSTS, f"val_{view.metric}", f"test_{view.metric}")})
    online = not run.offline
    entity, project = run.entity, run.project
    run.finish()
    if online:
        _workspace(entity, project, view, str(config.logger.group))


def _trials(view: StudyView) -> wandb.Table:
    keys = sorted({key for trial in view.trials for key in trial.params})
    columns: list[str | int] = ["trial", "kind", *keys, *_COSTS, f"val_{view.metric}", "float_accuracy"]
    return wandb.Table(columns=columns, data=[_row(trial, keys) for trial in view.trials], allow_mixed_types=True)


def _row(trial: TrialView, keys: list[str]) -> list[Any]:
    drawn = [trial.params.get(key) for key in keys]
    best = [None if trial.best is None else getattr(trial.best, name) for name in (*_COSTS, "score")]
    return [trial.number, trial.kind, *drawn, *best, trial.float_accuracy]


def _programs(view: StudyView) -> wandb.Table:
    fitting = [program for program in view.programs if program.fits]
    names = ("trial", "weight_bits", "activation_bits", "flash_bytes", "score", "tuned")
    columns: list[str | int] = [f"val_{view.metric}" if name == "score" else name for name in names]
    return wandb.Table(columns=columns, data=[[getattr(p, name) for name in names] for p in fitting])


def _workspace(entity: str, project: str, view: StudyView, group: str) -> None:
    """Save a dashboard of the study; a server that refuses it, or a missing package, is told in one line."""
    try:
        workspace(entity, project, view, group).save()
    except Exception as error:  # noqa: BLE001  (the study itself is complete, whatever the server says)
        warnings.warn(
            f"the W&B workspace of {view.name} was not made: {' '.join(str(error).split())}; "
            "run pip install 'edgesearch[wandb]', or make it by hand",
            EdgesearchWarning,
            stacklevel=2,
        )


def workspace(entity: str, project: str, view: StudyView, group: str) -> Any:
    """Return the dashboard: what `wandb_workspaces` saves."""
    import wandb_workspaces.reports.v2 as panels
    import wandb_workspaces.workspaces as workspaces

    score = f"val_{view.metric}"
    keys = sorted({key for trial in view.trials for key in trial.params})
    columns = [panels.ParallelCoordinatesPlotColumn(metric=panels.Config(key)) for key in keys]
    columns += [panels.ParallelCoordinatesPlotColumn(metric=panels.SummaryMetric(name)) for name in (*_COSTS, score)]
    flash, worth = panels.SummaryMetric("flash_bytes"), panels.SummaryMetric(score)
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=view.name,
        sections=[
            workspaces.Section(
                name="search",
                is_open=True,
                panels=[
                    panels.ScatterPlot(title=f"{view.words} against flash", x=flash, y=worth, log_x=True),
                    panels.ParallelCoordinatesPlot(title="what was tried", columns=columns),
                ],
            ),
            workspaces.Section(
                name="training",
                is_open=True,
                panels=[panels.LinePlot(x="epoch", y=[score]), panels.LinePlot(x="epoch", y=["train_loss"])],
            ),
        ],
        runset_settings=workspaces.RunsetSettings(filters=f"Group == {group!r}"),
    )
