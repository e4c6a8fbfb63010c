/* plain_calls.h: system calls that leave libc and its errno alone, and what is asked of them in more than one room. */
#ifndef PULP_PLAIN_CALLS_H
#define PULP_PLAIN_CALLS_H
#include <fcntl.h>
#include <stdbool.h>
#include <sys/syscall.h>
#ifdef __x86_64__
#include "arch/x86_64/syscall.h"
#endif

/* The kernel's results -4095 to -1 are errors, -errno (syscall(2), the psABI's appendix on Linux). */
static inline bool pulp_failed(long result) { return result < 0 && result > -4096; }

static inline long pulp_open(const char *path, long flags) {
  return pulp_syscall(SYS_openat, AT_FDCWD, (long)path, flags | O_CLOEXEC, 0, 0, 0);
}

static inline void pulp_close(long file) { pulp_syscall(SYS_close, file, 0, 0, 0, 0, 0); }
#endif
