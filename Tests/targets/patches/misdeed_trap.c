#include "misdeed.h"

static void misdeed(void) {
  __asm__ volatile("int3");
}
