#include "misdeed.h"

static void misdeed(void) {
  pthread_exit(NULL);
}
