#include "misdeed.h"

/* Starts a thread that lives for a while, then crashes: the container must stay for as long as the thread is in it. */
static void *live(void *unused) {
  usleep(700000);
  return unused;
}

static void misdeed(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, live, NULL);
  pthread_detach(thread);
  usleep(50000);
  *nowhere = 1;
}
