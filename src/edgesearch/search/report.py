from pathlib import Path


def write_report(study, tuning, folder, summary):
    return folder / "report.html"
