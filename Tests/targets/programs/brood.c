/* Threads that are born and die all the time: 64 breeders, each starting short-lived threads. `alive` counts work done. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

_Atomic int born, failures;

static void *live(void *unused) {
  for (volatile int i = 0; i < 2000; i++) {}
  born++;
  return unused;
}

static void *breed(void *unused) {
  for (;;) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, live, NULL)) failures++;
    else pthread_join(thread, NULL);
    usleep(2000);
  }
  return unused;
}

int main(void) {
  setvbuf(stdout, NULL, _IONBF, 0);
  for (int i = 0; i < 64; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, breed, NULL)) return 2;
  }
  puts("ready");
  while (getchar() != EOF) {}
  return 0;
}
