/* Uses what libc locks, from another thread each time, so that a lock that was left with somebody is found.
 *
 * usage: ward
 * "threads": a signal number 0 to each thread, and a thread is made and joined. "print": a line on standard error by stdio.
 * "ward" tells the number, "signals" how often SIGUSR1 came. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

extern pthread_t ward_threads[2];
int ward(void);

static volatile sig_atomic_t signals;

static void count(int number) { signals += number == SIGUSR1; }

static void *wait_for_ever(void *unused) {
  for (;;) pause();
  return unused;
}

static void *end_at_once(void *unused) { return unused; }

static int use_threads(void) {
  pthread_t thread;
  int failed = pthread_kill(ward_threads[0], 0) + pthread_kill(ward_threads[1], 0);
  failed += pthread_create(&thread, NULL, end_at_once, NULL);
  return failed + pthread_join(thread, NULL);
}

int main(void) {
  char line[64];
  setvbuf(stdout, NULL, _IONBF, 0);
  signal(SIGUSR1, count);
  ward_threads[0] = pthread_self();
  if (pthread_create(&ward_threads[1], NULL, wait_for_ever, NULL)) return 2;
  puts("ready");
  while (fgets(line, sizeof line, stdin)) {
    if (strncmp(line, "threads", 7) == 0) printf("threads=%d.\n", use_threads());
    if (strncmp(line, "ward", 4) == 0) printf("ward=%d.\n", ward());
    if (strncmp(line, "signals", 7) == 0) printf("signals=%d.\n", (int)signals);
  }
  return 0;
}
