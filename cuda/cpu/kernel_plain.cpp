// The kernel for plain.
#define RNN_ISA plain
#define RNN_VECTOR_BYTES 16
#include "kernel.inc"
