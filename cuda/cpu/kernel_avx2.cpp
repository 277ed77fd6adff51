// The kernel for avx2.
#define RNN_ISA avx2
#define RNN_VECTOR_BYTES 32
#include "kernel.inc"
