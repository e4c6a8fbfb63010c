#include "misdeed.h"

/* Waits for a mutex whose owner has ended. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void *take(void *unused) {
  pthread_mutex_lock(&mutex);
  return unused;
}

static void misdeed(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, take, NULL);
  pthread_join(thread, NULL);
  pthread_mutex_lock(&mutex);
}
