"""Layer 11: what the command line is given, and what it says of mistakes."""
