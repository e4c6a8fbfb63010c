/* What the preloaded runtime costs a process that is not being patched.
 * usage: preload THREADS; prints the nanoseconds of one malloc and free, and of one call into a prepared library */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int dozen(void);

enum { rounds = 2000000 };

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void *allocate(void *unused) {
  for (int i = 0; i < rounds; i++) {
    void *block = malloc((size_t)(16 + i % 512));
    __asm__ volatile("" : : "r"(block) : "memory"); /* so that the pair is not optimised away */
    free(block);
  }
  return unused;
}

int main(int argc, char **argv) {
  int count = argc > 1 ? atoi(argv[1]) : 1;
  pthread_t threads[64];
  if (count < 1 || count > 64) return 2;
  double began = seconds();
  for (int i = 0; i < count; i++)
    if (pthread_create(&threads[i], NULL, allocate, NULL)) return 2;
  for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
  double allocating = seconds() - began;
  began = seconds();
  long sum = 0;
  for (int i = 0; i < 20 * rounds; i++) sum += dozen();
  double calling = seconds() - began;
  if (sum != 12l * 20 * rounds) return 3;
  printf("malloc=%.3f call=%.3f\n", allocating * 1e9 / rounds, calling * 1e9 / (20.0 * rounds));
  return 0;
}
