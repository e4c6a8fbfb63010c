#include "misdeed.h"

/* A system call that the program's filter traps. */
static void misdeed(void) {
  spins = (int)syscall(SYS_getpriority, 0, 0);
}
