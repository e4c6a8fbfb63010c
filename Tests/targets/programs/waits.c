/* One thread for each system call that answers EINTR to a tracer's stop. Each waits again and again, and counts what it was
 * told: a wait that comes to its end, an EINTR, anything else.
 *
 * Per thread: `tids`, `ended`, `interrupted`, `failed`, `handled`; SIGUSR1's handler has no SA_RESTART and does nothing, so
 * the program is owed an EINTR for it. The last thread blocks SIGUSR1 but for the time of its epoll_pwait. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/aio_abi.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { kinds = 8, wait_ms = 400 };
volatile int tids[kinds], ended[kinds], interrupted[kinds], failed[kinds], early[kinds];
volatile int handled[kinds];
static __thread int self = -1;
static int sockets[2], listener, epoll, semaphores;
static aio_context_t events;

static void on_usr1(int unused) {
  (void)unused;
  if (self >= 0) handled[self]++;
}

static long wait_once(int kind) {
  struct timespec span = {0, wait_ms * 1000000l};
  struct epoll_event event;
  struct sembuf take = {.sem_num = 0, .sem_op = -1};
  struct io_event done;
  sigset_t set;
  char byte;
  switch (kind) {
  case 0: return epoll_wait(epoll, &event, 1, wait_ms);
  case 1: return syscall(SYS_epoll_pwait2, epoll, &event, 1, &span, NULL, 0);
  case 2: return semtimedop(semaphores, &take, 1, &span);
  case 3: sigemptyset(&set); sigaddset(&set, SIGRTMAX); return sigtimedwait(&set, NULL, &span);
  case 4: return syscall(SYS_io_getevents, events, 1, 1, &done, &span);
  case 5: return recv(sockets[0], &byte, 1, 0);
  case 6: return accept(listener, NULL, NULL);
  default: sigemptyset(&set); return epoll_pwait(epoll, &event, 1, wait_ms, &set);
  }
}

static void *run(void *argument) {
  int kind = (int)(intptr_t)argument;
  self = kind;
  if (kind == kinds - 1) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
  }
  tids[kind] = gettid();
  for (;;) {
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    long result = wait_once(kind);
    int error = result < 0 ? errno : 0;
    clock_gettime(CLOCK_MONOTONIC, &to);
    long took = (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000;
    if (error == EINTR) interrupted[kind]++;
    else if (error && error != EAGAIN && error != EWOULDBLOCK) failed[kind]++;
    else { ended[kind]++; if (took < wait_ms - 5) early[kind]++; }
  }
  return NULL;
}

int main(void) {
  struct timeval limit = {0, wait_ms * 1000};
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct sigaction action = {.sa_handler = on_usr1};
  char word[64];
  setvbuf(stdout, NULL, _IONBF, 0);
  sigaction(SIGUSR1, &action, NULL);
  epoll = epoll_create1(0);
  listener = socket(AF_INET, SOCK_STREAM, 0);
  semaphores = semget(IPC_PRIVATE, 1, 0600);
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) || bind(listener, (struct sockaddr *)&address, sizeof address) ||
      listen(listener, 1) || semaphores < 0 || syscall(SYS_io_setup, 1, &events))
    return 2;
  setsockopt(sockets[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  for (intptr_t kind = 0; kind < kinds; kind++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, (void *)kind)) return 2;
    while (!tids[kind]) usleep(100);
  }
  puts("ready");
  while (scanf("%63s", word) == 1)
    ;
  semctl(semaphores, 0, IPC_RMID);
  puts("bye");
  return 0;
}
