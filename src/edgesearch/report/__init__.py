"""Layer 8: the run record, its tables, and the loggers. Reads records, never models."""
