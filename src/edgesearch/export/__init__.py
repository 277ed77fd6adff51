"""Layer 6: a program in, text for a target out. Importing this makes the targets known to `IntegerProgram.export`."""

from edgesearch.export.c import export_c
from edgesearch.numerics.program import IntegerProgram

IntegerProgram.exporters["c"] = export_c

__all__ = ["export_c"]
