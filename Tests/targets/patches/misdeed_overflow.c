#include "misdeed.h"

static int dive(volatile char *above) {
  volatile char here[200];
  here[0] = above[0];
  return dive(here) + here[0];
}

static void misdeed(void) {
  volatile char start[1] = {0};
  zero = dive(start);
}
