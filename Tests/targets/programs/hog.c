/* Its threads take a lock again right after they have released it: whoever is woken comes too late, each time.
 *
 * usage: hog COUNT
 * "tell" answers with the number, and with how many threads have had the lock since the last time. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

extern pthread_mutex_t hog_lock;
int hog(void);

enum { MOST = 16 };
static volatile unsigned long turns[MOST];

static long microseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void *take(void *place) {
  volatile unsigned long *mine = place;
  for (;;) {
    pthread_mutex_lock(&hog_lock);
    for (long end = microseconds() + 300; microseconds() < end;) continue;
    (*mine)++;
    pthread_mutex_unlock(&hog_lock);
  }
  return NULL;
}

int main(int argc, char **argv) {
  char line[64];
  int count = argc > 1 ? atoi(argv[1]) : 2;
  unsigned long before[MOST] = {0};
  setvbuf(stdout, NULL, _IONBF, 0);
  for (int i = 0; i < count && i < MOST; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, take, (void *)&turns[i])) return 2;
  }
  puts("ready");
  while (fgets(line, sizeof line, stdin)) {
    int active = 0;
    for (int i = 0; i < count && i < MOST; i++) {
      active += turns[i] != before[i];
      before[i] = turns[i];
    }
    printf("hog=%d active=%d.\n", hog(), active);
  }
  return 0;
}
