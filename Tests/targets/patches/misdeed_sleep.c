#include "misdeed.h"

static void misdeed(void) {
  for (;;) sleep(1000);
}
