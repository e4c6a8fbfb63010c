/* The main thread waits for the others to end: one answers each line on stdin with the number, the others allocate, take turns
 * at a mutex and sleep. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int dozen(void);

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long turns;

static long count(void) {
  pthread_mutex_lock(&mutex);
  long now = turns;
  pthread_mutex_unlock(&mutex);
  return now;
}

static void *answer(void *unused) {
  char line[64];
  for (ssize_t length; (length = read(0, line, sizeof line)) > 0;) {
    long before = count(), after = before;
    for (int i = 0; i < 10000 && after == before; i++) {
      usleep(1000);
      after = count();
    }
    printf("%d %s\n", dozen(), after > before ? "turning" : "idle");
  }
  exit(0);
  return unused;
}

static void *turn(void *unused) {
  for (;;) {
    char *block = malloc(100);
    memset(block, 1, 100);
    pthread_mutex_lock(&mutex);
    turns += block[99];
    pthread_mutex_unlock(&mutex);
    free(block);
    usleep(200);
  }
  return unused;
}

int main(void) {
  pthread_t threads[4];
  setvbuf(stdout, NULL, _IONBF, 0);
  for (int i = 0; i < 4; i++)
    if (pthread_create(&threads[i], NULL, i ? turn : answer, NULL)) return 2;
  puts("ready");
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  return 0;
}
