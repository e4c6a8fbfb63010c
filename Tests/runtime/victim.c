/* victim.c: a process whose threads notice everything that is done to them. File descriptor 3 is the shared mapping. */
#define _GNU_SOURCE
#include "probe.h"
#include "victim.h"
#include <dlfcn.h>
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <pulp_abi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct victim_shared *shared;
static struct pulp_ext *ext;
static int pipes[2];

static long now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void on_signal(int number) {
  (void)number;
  clobber();
  shared->signals++;
}

__attribute__((noinline)) static unsigned __int128 callee(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f) {
  uint64_t sp = (uint64_t)__builtin_frame_address(0), mask = 0;
  unsigned mxcsr;
  uint16_t x87;
  shared->calls++;
  __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
  __asm__ volatile("fnstsw %0" : "=m"(x87));
  if (x87 || mxcsr != 0x1f80 || sp % 16 || sp <= ext->call_stack_bottom || sp > ext->call_stack_top) shared->wrong++;
  if (a != 1 || b != 2 || c != 3 || d != 4 || e != 5) shared->wrong++;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &mask, 8);
  mask |= 1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1);
  if (mask != ~(1ull << 3 | 1ull << 4 | 1ull << 6 | 1ull << 7 | 1ull << 10 | 1ull << 30)) shared->wrong++;
  struct pulp_mailbox *mailbox = (void *)ext->mailbox;
  if (mailbox->state != PULP_CALL_RUNNING) shared->wrong++;
  clobber();
  void *memory = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(memory, 1, 65536);
  munmap(memory, 65536);
  /* Not nanosleep: that makes the kernel forget the restart block of the call it interrupted. poll and mmap do not. */
  if (f % 3 == 1) poll(NULL, 0, 1);
  for (long start = now_us(); f % 3 == 2 && now_us() - start < (long)(f * 7919 % 1500);) syscall(SYS_gettid);
  clobber();
  shared->left++;
  return (unsigned __int128)(f * 3) << 64 | (a + b + c + d + e + f);
}

static uint64_t faulty(void) {
  clobber();
  shared->calls++;
  *(volatile int *)8 = 1;
  return 1;
}

static void sleep_once(int which) {
  struct victim_thread *me = &shared->threads[which];
  static _Atomic int word;
  struct timespec wait = {0, 20000000};
  struct epoll_event event;
  static int epoll = -1;
  char byte;
  long start = now_us(), result = 0;
  errno = 0;
  switch (which) {
  case NANOSLEEP: result = nanosleep(&wait, NULL); break;
  case POLL: result = poll(NULL, 0, 20); break;
  case READ: result = read(pipes[0], &byte, 1) == 1 ? 0 : -1; break;
  case FUTEX:
    result = syscall(SYS_futex, &word, FUTEX_WAIT, 0, &wait, NULL, 0) == -1 && errno == ETIMEDOUT ? 0 : -1;
    break;
  case EPOLL:
    if (epoll < 0) epoll = epoll_create1(EPOLL_CLOEXEC);
    result = epoll_wait(epoll, &event, 1, 20);
    break;
  }
  long took = now_us() - start;
  if (result && errno == EINTR) me->eintr++;
  else if (result || (which != READ && took < 19900)) me->corrupt++;
  if (took > 60 * 1000000l) me->late++; /* 20 ms, but a busy machine may leave a process alone for long */
}

static void *run(void *argument) {
  int which = (int)(intptr_t)argument;
  struct victim_thread *me = &shared->threads[which];
  struct probe_area *area = aligned_alloc(64, sizeof *area);
  unsigned seed = which;
  me->tid = gettid();
  while (!shared->quit) {
    if (which == PROBE_A || which == PROBE_B) {
      unsigned bad = probe_once(20000, area, seed++);
      if (bad) {
        fprintf(stderr, "# thread %d: %#x\n", which, bad);
        me->corrupt++;
      }
    } else if (which == MAIN) {
      usleep(3000);
      if (write(pipes[1], "x", 1) != 1) me->corrupt++;
    } else {
      sleep_once(which);
    }
    me->progress++;
  }
  return NULL;
}

int main(void) {
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, 3, 0);
  ext = dlsym(RTLD_DEFAULT, "__ulp_ext");
  if (shared == MAP_FAILED || !ext || pipe(pipes)) return 1;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &action, NULL);
  shared->ext = (uint64_t)ext;
  shared->callee = (uint64_t)callee;
  shared->faulty = (uint64_t)faulty;
  for (intptr_t which = 0; which < MAIN; which++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, (void *)which)) return 1;
  }
  shared->ready = 1;
  run((void *)(intptr_t)MAIN);
  return 0;
}
