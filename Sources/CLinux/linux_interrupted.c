/* linux_interrupted.c: calls that answer a plain EINTR to every stop, although the program has done nothing to deserve it. Called
 * from SIGCHLD's handler too. */
#define _GNU_SOURCE
#include "linux_shim.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>

int ul_is_repeatable_call(long number) {
  switch (number) {
  case SYS_read: case SYS_write: case SYS_pread64: case SYS_pwrite64: case SYS_readv: case SYS_writev: /* on sockets with a timeout */
  case SYS_connect: case SYS_accept: case SYS_accept4:
  case SYS_sendto: case SYS_recvfrom: case SYS_sendmsg: case SYS_recvmsg: case SYS_recvmmsg: case SYS_sendmmsg:
  case SYS_semop: case SYS_semtimedop:
  case SYS_rt_sigtimedwait:
  case SYS_io_getevents: case SYS_io_pgetevents:
  case SYS_epoll_wait: case SYS_epoll_pwait: case 441: /* epoll_pwait2 */
  case 426: /* io_uring_enter: says EINTR only when it has submitted nothing */
    return 1;
  default:
    return 0;
  }
}

void ul_spare_interruption(pid_t tid, int signal) {
  enum { ERESTARTNOHAND = 514 };
  struct user_regs_struct registers;
  if (signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU) return;
  if (ul_get_registers(tid, &registers) < 0 || (long)registers.rax != -EINTR || !ul_is_repeatable_call((long)registers.orig_rax)) return;
  registers.rax = (unsigned long)-ERESTARTNOHAND;
  ul_set_registers(tid, &registers);
}
