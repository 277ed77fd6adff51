/* Prints this core's rate of single-precision fused multiply-adds, in operations a second (two each), from registers. */
#include <stdio.h>
#include <time.h>

typedef float vector __attribute__((vector_size(64)));

int main(void) {
  enum { CHAINS = 12, ROUNDS = 20000000 };
  vector sum[CHAINS], factor, term;
  volatile float start_value = 1; /* keeps the compiler from finding equal chains */
  for (int chain = 0; chain < CHAINS; chain++)
    for (int lane = 0; lane < 16; lane++) sum[chain][lane] = start_value * (chain + 1);
  for (int lane = 0; lane < 16; lane++) { factor[lane] = 0.999f; term[lane] = 1e-3f; }
  struct timespec start, end;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
  for (long round = 0; round < ROUNDS; round++)
    for (int chain = 0; chain < CHAINS; chain++) sum[chain] = sum[chain] * factor + term;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
  float used = 0;
  for (int chain = 0; chain < CHAINS; chain++) used += sum[chain][0];
  const double seconds = (end.tv_sec - start.tv_sec) + 1e-9 * (end.tv_nsec - start.tv_nsec);
  printf("%.6e\n", 2.0 * 16 * CHAINS * ROUNDS / seconds * (used != 0));
  return 0;
}
