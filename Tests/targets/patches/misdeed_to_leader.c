#include "misdeed.h"

static void misdeed(void) {
  pthread_kill(pthread_self(), SIGINT);
}
