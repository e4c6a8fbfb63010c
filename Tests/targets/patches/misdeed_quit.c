#include "misdeed.h"

static void misdeed(void) {
  exit(3);
}
