/* bench.c: what the preload costs a process that starts and ends. argv[1]: libpulp.so; alternates starts with and without. */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

enum { RUNS = 3000 };

static double start_once(char **environment) {
  char *arguments[] = {"/bin/true", NULL};
  struct timespec start, end;
  pid_t pid;
  clock_gettime(CLOCK_MONOTONIC, &start);
  if (posix_spawn(&pid, arguments[0], NULL, NULL, arguments, environment)) exit(1);
  waitpid(pid, NULL, 0);
  clock_gettime(CLOCK_MONOTONIC, &end);
  return (end.tv_sec - start.tv_sec) * 1e3 + (end.tv_nsec - start.tv_nsec) / 1e6;
}

static int ascending(const void *a, const void *b) {
  double left = *(const double *)a, right = *(const double *)b;
  return (left > right) - (left < right);
}

int main(int count, char **arguments) {
  static double without[RUNS], with[RUNS];
  char preload[4200];
  char *plain[] = {"A=b", NULL}, *loaded[] = {preload, NULL};
  if (count < 2) return 2;
  snprintf(preload, sizeof preload, "LD_PRELOAD=%s", arguments[1]);
  for (int i = 0; i < RUNS; i++) without[i] = start_once(plain), with[i] = start_once(loaded);
  qsort(without, RUNS, sizeof *without, ascending);
  qsort(with, RUNS, sizeof *with, ascending);
  printf("start of /bin/true: median %.3f ms, preloaded %.3f ms: %+.3f ms\n", without[RUNS / 2], with[RUNS / 2],
         with[RUNS / 2] - without[RUNS / 2]);
  return 0;
}
