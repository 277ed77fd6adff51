"""Layer 1: fixed-point formats, the rounding rule, approximated functions, integer programs and their interpreter."""
