#include "misdeed.h"

/* A thread that lives in the container until the program's main thread has called dozen() three times. */
int visits;
int dozens_13_counted(void) {
  __atomic_add_fetch(&visits, 1, __ATOMIC_RELAXED);
  return 13;
}

static void *live(void *unused) {
  while (__atomic_load_n(&visits, __ATOMIC_RELAXED) < 3) usleep(1000);
  return unused;
}

static void misdeed(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, live, NULL);
  pthread_detach(thread);
}
