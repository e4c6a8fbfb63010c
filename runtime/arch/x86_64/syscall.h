/* syscall.h: system calls for the constructor. libc's wrappers lie on pages of libc that a small process never touches
 * otherwise (64 KiB of resident text), and write errno. Returns what the kernel returns: -errno on failure.
 */
#ifndef PULP_ARCH_SYSCALL_H
#define PULP_ARCH_SYSCALL_H

static inline long pulp_syscall(long number, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}
#endif
