// The kernel for avx512.
#define RNN_ISA avx512
#define RNN_VECTOR_BYTES 64
#include "kernel.inc"
