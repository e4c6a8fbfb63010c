#include "misdeed.h"

/* Takes its own code away. */
static void misdeed(void) {
  munmap((void *)((uintptr_t)misdeed & ~4095ul), 4096);
  spins++;
}
