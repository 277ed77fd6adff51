"""Layer 6: a program in, text for a target out. Importing this makes the targets known to `IntegerProgram.export`."""

from edgesearch.export.c import export_c
from edgesearch.export.ezpc import export_ezpc
from edgesearch.export.secure import export_secure
from edgesearch.numerics.program import IntegerProgram

IntegerProgram.exporters |= {"c": export_c, "secure": export_secure, "ezpc": export_ezpc}

__all__ = ["export_c", "export_ezpc", "export_secure"]
