#define _GNU_SOURCE
#include "linux_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* Runs in the child. Returns only on failure, with errno set. */
static void become_program(const struct linux_spawn_request *request, pid_t parent) {
  const unsigned long plain[4] = {0}; /* the kernel's struct sigaction: SIG_DFL, no flags */
  sigset_t none;

  if (prctl(PR_SET_PDEATHSIG, SIGKILL)) return;
  if (getppid() != parent) _exit(127); /* it ended before the line above: nobody would end us */
  /* Only a terminal of its own takes a session of its own. With autogroups every session is scheduled as one, and some
   * kernels leave one without a processor for seconds beside another's busy threads: a tool and its target best share it. */
  if (request->terminal ? setsid() < 0 : setpgid(0, 0) < 0) return;

  for (int number = 1; number < NSIG; number++) /* glibc's own sigaction keeps its hands off 32 and 33 */
    syscall(SYS_rt_sigaction, number, plain, NULL, 8);

  /* First above 2, so that none of the three is overwritten before it has been moved. */
  int input = fcntl(request->input, F_DUPFD, 3);
  int output = fcntl(request->output, F_DUPFD, 3);
  int error = fcntl(request->error, F_DUPFD, 3);
  if (dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(error, 2) < 0) return;
  if (request->terminal && ioctl(0, TIOCSCTTY, 0)) return;
  if (request->directory && chdir(request->directory)) return;
  if (syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC)) return;

  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  execve(request->path, request->argv, request->envp);
}

pid_t linux_spawn(const struct linux_spawn_request *request) {
  int report[2], failure = 0;
  sigset_t all, before;
  pid_t parent = getpid();

  if (pipe2(report, O_CLOEXEC)) return -errno;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* none of our handlers may run in the child */
  pid_t pid = fork();
  if (pid == 0) {
    become_program(request, parent);
    failure = errno;
    _exit(write(report[1], &failure, sizeof failure) == sizeof failure ? 127 : 126);
  }
  int fork_error = errno;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  close(report[1]);
  if (pid < 0) {
    close(report[0]);
    return -fork_error;
  }

  ssize_t got;
  do got = read(report[0], &failure, sizeof failure);
  while (got < 0 && errno == EINTR);
  close(report[0]);
  if (got == 0) return pid; /* closed by the exec */
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
  return -(failure ? failure : EIO);
}

pid_t linux_fork_worker(int *output) {
  int fd = memfd_create("ulpsh-worker", MFD_CLOEXEC);
  if (fd < 0) return -errno;
  fflush(stdout); /* or the copy would say it again */
  pid_t parent = getpid(), pid = fork();
  if (pid == 0) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent || dup2(fd, 1) < 0) _exit(255);
    close(fd);
    return 0;
  }
  if (pid < 0) {
    int failure = errno;
    close(fd);
    return -failure;
  }
  *output = fd;
  return pid;
}

void linux_end_worker(int status) { _exit(fflush(stdout) ? 255 : status); }

int linux_processors(void) {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

int linux_open_terminal(int *controller, int *terminal) {
  struct termios mode;
  char name[64];
  *controller = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (*controller < 0) return -errno;
  int failure = grantpt(*controller) || unlockpt(*controller) ? errno : ptsname_r(*controller, name, sizeof name);
  *terminal = failure ? -1 : open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (!failure && *terminal < 0) failure = errno;
  if (!failure && tcgetattr(*terminal, &mode) == 0) {
    mode.c_lflag &= ~(tcflag_t)ECHO;
    mode.c_oflag &= ~(tcflag_t)ONLCR;
    tcsetattr(*terminal, TCSANOW, &mode);
  }
  if (failure) close(*controller);
  return -failure;
}

int linux_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC) ? -errno : 0; }

ssize_t linux_write_quietly(int fd, const void *bytes, size_t count) {
  sigset_t pipe_only, before, pending;
  struct timespec now = {0, 0};
  sigemptyset(&pipe_only);
  sigaddset(&pipe_only, SIGPIPE);
  sigpending(&pending);
  pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
  ssize_t written = write(fd, bytes, count);
  int failure = errno;
  if (written < 0 && failure == EPIPE && !sigismember(&pending, SIGPIPE))
    while (sigtimedwait(&pipe_only, NULL, &now) < 0 && errno == EINTR) {}
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return written < 0 ? -failure : written;
}

int linux_adopt_orphans(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1) ? -errno : 0; }

int linux_pidfd_open(pid_t pid) {
  long fd = syscall(SYS_pidfd_open, pid, 0);
  return fd < 0 ? -errno : (int)fd;
}

int linux_collect_child(pid_t pid, int *code) {
  siginfo_t info = {.si_pid = 0};
  while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG) < 0)
    if (errno != EINTR) return -errno;
  if (info.si_pid == 0) return 0;
  *code = info.si_status;
  return info.si_code == CLD_EXITED ? 1 : 2;
}
