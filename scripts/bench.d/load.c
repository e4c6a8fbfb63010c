/* What is measured while it is patched, preloaded, or neither.
 *
 * usage: load alloc THREADS      nanoseconds of a malloc and free on each of so many threads
 *        load call               nanoseconds of a call into a prepared library, for each line of input
 *        load busy|idle THREADS  so many threads that run, or sleep, until the input ends
 *        load fleet COUNT        so many processes that sleep until the input ends
 *        load memory             resident kilobytes, and the proportional share of them
 *        load nothing            ends at once */
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int dozen(void);

enum { pairs = 2000000, calls = 20000000, most = 512 };

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void *allocate(void *unused) {
  for (int i = 0; i < pairs; i++) {
    void *block = malloc((size_t)(16 + i % 512));
    __asm__ volatile("" : : "r"(block) : "memory"); /* so that the pair is not optimised away */
    free(block);
  }
  return unused;
}

static void work(int turns) {
  volatile long sum = 0;
  while (turns--) {
    for (int i = 0; i < 10000; i++) sum += i;
    sum += dozen();
  }
}

static void *run(void *unused) {
  for (;;) work(1000);
  return unused;
}

/* Without waiting: a thread that waited for the input would be one that is not busy. */
static int input_has_ended(void) {
  struct pollfd input = {.fd = 0, .events = POLLIN};
  char text[64];
  return poll(&input, 1, 0) > 0 && read(0, text, sizeof text) <= 0;
}

static void *sleep_forever(void *unused) {
  for (;;) pause();
  return unused;
}

static int start(int count, void *(*body)(void *), pthread_t *threads) {
  if (count < 1 || count > most) return 0;
  for (int i = 0; i < count; i++)
    if (pthread_create(&threads[i], NULL, body, NULL)) return 0;
  return 1;
}

static int measure_allocations(int count) {
  pthread_t threads[most];
  double began = seconds();
  if (!start(count, allocate, threads)) return 2;
  for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
  printf("%.3f\n", (seconds() - began) * 1e9 / pairs);
  return 0;
}

static int measure_calls(void) {
  char line[64];
  puts("ready");
  while (fgets(line, sizeof line, stdin)) {
    double began = seconds();
    long sum = 0;
    for (int i = 0; i < calls; i++) sum += dozen();
    printf("%.3f %ld\n", (seconds() - began) * 1e9 / calls, sum / calls);
  }
  return 0;
}

static int keep_threads(int count, void *(*body)(void *)) {
  pthread_t threads[most];
  if (count > 1 && !start(count - 1, body, threads)) return 2; /* the main thread is one of them */
  puts("ready");
  if (body == run) {
    while (!input_has_ended()) work(1000);
    return 0;
  }
  while (getchar() != EOF) continue;
  return 0;
}

/* This program is one of them; each says "ready". */
static int start_fleet(char *self, int count) {
  extern char **environ;
  char *arguments[] = {self, "idle", NULL};
  pid_t pid;
  for (int i = 1; i < count; i++)
    if (posix_spawn(&pid, self, NULL, NULL, arguments, environ)) return 2;
  puts("ready");
  while (getchar() != EOF) continue;
  return 0;
}

static int tell_memory(void) {
  char line[256];
  long number, resident = 0, share = 0;
  FILE *file = fopen("/proc/self/smaps_rollup", "r");
  while (file && fgets(line, sizeof line, file)) {
    if (sscanf(line, "Rss: %ld", &number) == 1) resident = number;
    if (sscanf(line, "Pss: %ld", &number) == 1) share = number;
  }
  printf("%ld %ld\n", resident, share);
  return resident ? 0 : 2;
}

int main(int argc, char **argv) {
  const char *mode = argc > 1 ? argv[1] : "";
  int count = argc > 2 ? atoi(argv[2]) : 1;
  setvbuf(stdout, NULL, _IONBF, 0);
  if (strcmp(mode, "alloc") == 0) return measure_allocations(count);
  if (strcmp(mode, "call") == 0) return measure_calls();
  if (strcmp(mode, "busy") == 0) return keep_threads(count, run);
  if (strcmp(mode, "idle") == 0) return keep_threads(count, sleep_forever);
  if (strcmp(mode, "fleet") == 0) return start_fleet(argv[0], count);
  if (strcmp(mode, "memory") == 0) return tell_memory();
  return strcmp(mode, "nothing") != 0 ? 2 : 0;
}
