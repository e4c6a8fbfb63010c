/* A container that takes its time to load, without sleeping: 200 ms of the carrier's. */
#include <time.h>

int dozen_13(void) { return 13; }

__attribute__((constructor)) static void load(void) {
  struct timespec from, now;
  clock_gettime(CLOCK_MONOTONIC, &from);
  do clock_gettime(CLOCK_MONOTONIC, &now);
  while ((now.tv_sec - from.tv_sec) * 1000000000l + now.tv_nsec - from.tv_nsec < 200000000l);
}
