/* A process in which something happens all the time, and which counts what goes wrong.
 *
 * usage: tumult join|fork|timer|waits [THREADS]
 * join: threads that live for a few calls. fork: children that call and end, their exit checked. timer: threads that count
 * up to numbers they know, under a timer signal every 100 us. waits: one thread in each kind of blocking call, EINTR counted.
 * On stdin: "tell" answers with rounds since the last question, failures, and the number. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int dozen(void);

static _Atomic long rounds, failures, ticks;
static _Atomic int culprit; /* which kind of wait failed last */

static int is_dozen(void) {
  int number = dozen();
  return number == 12 || number == 13;
}

static void *live_shortly(void *unused) {
  for (int i = 0; i < 20; i++)
    if (!is_dozen()) failures++;
  return unused;
}

static void *join(void *unused) {
  for (;; rounds++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, live_shortly, NULL) || pthread_join(thread, NULL)) failures++;
  }
  return unused;
}

static void *fork_and_wait(void *unused) {
  for (;; rounds++) {
    int status;
    pid_t child = fork();
    if (child == 0) _exit(is_dozen() ? 5 : 6);
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 5) failures++;
  }
  return unused;
}

static void on_tick(int number) {
  (void)number;
  if (!is_dozen()) failures++;
  ticks++;
}

static void *count_up(void *unused) {
  for (;; rounds++) {
    volatile long sum = 0;
    for (long i = 1; i <= 2000; i++) sum += i;
    if (sum != 2001000 || !is_dozen()) failures++;
  }
  return unused;
}

/* The kinds of waits. None of them ever ends by an event; a timed one ends by its time. Returns whether it went well. */
enum { kinds = 20 };
static int ends[2], sockets[2], timed_socket[2], lock_file;

static int well(long result, int timeout_error) { return result >= 0 || (timeout_error && errno == timeout_error); }

static int wait_in(int kind) {
  struct timespec span = {0, 30000000};
  struct timeval short_time = {0, 30000};
  struct pollfd entry = {.fd = ends[0], .events = POLLIN};
  struct epoll_event event;
  struct sembuf down = {.sem_op = -1};
  sigset_t usr2;
  static _Thread_local int epoll, events, watch, semaphore, queue;
  static uint32_t never;
  char byte[64];
  fd_set set;
  if (!epoll) {
    epoll = epoll_create1(0), events = eventfd(0, 0), watch = inotify_init();
    semaphore = semget(IPC_PRIVATE, 1, 0600), queue = msgget(IPC_PRIVATE, 0600);
    semctl(semaphore, 0, SETVAL, 0);
  }
  sigemptyset(&usr2);
  sigaddset(&usr2, SIGUSR2);
  switch (kind) {
  case 0: return well(read(ends[0], byte, 1), 0);
  case 1: return well(recv(sockets[0], byte, 1, 0), 0);
  case 2: return well(recv(timed_socket[0], byte, 1, 0), EAGAIN);
  case 3: return well(poll(&entry, 1, 30), 0);
  case 4: return well(ppoll(&entry, 1, &span, &usr2), 0);
  case 5: FD_ZERO(&set); FD_SET(ends[0], &set); return well(select(ends[0] + 1, &set, NULL, NULL, &short_time), 0);
  case 6: return well(epoll_wait(epoll, &event, 1, 30), 0);
  case 7: return well(epoll_pwait(epoll, &event, 1, 30, &usr2), 0);
  case 8: return well(read(events, byte, 8), 0);
  case 9: return well(read(watch, byte, sizeof byte), 0);
  case 10: return well(semtimedop(semaphore, &down, 1, &span), EAGAIN);
  case 11: return well(semop(semaphore, &down, 1), 0);
  case 12: return well(msgrcv(queue, byte, 1, 0, 0), 0);
  case 13: return well(nanosleep(&span, NULL), 0);
  case 14: return clock_nanosleep(CLOCK_MONOTONIC, 0, &span, NULL) == 0;
  case 15: return well(syscall(SYS_futex, &never, 128, 0, &span, NULL, 0), ETIMEDOUT);
  case 16: return well(syscall(SYS_futex, &never, 128, 0, NULL, NULL, 0), 0);
  case 17: return well(sigtimedwait(&usr2, NULL, &span), EAGAIN);
  case 18: return well(flock(lock_file, LOCK_EX), 0);
  default: return well(epoll_wait(epoll, &event, 1, -1), 0);
  }
}

static void *wait_always(void *kind) {
  sigset_t usr2;
  sigemptyset(&usr2);
  sigaddset(&usr2, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &usr2, NULL);
  for (;; rounds++) {
    if (wait_in((int)(intptr_t)kind)) continue;
    culprit = 100 * (int)(intptr_t)kind + errno;
    failures++;
  }
  return kind;
}

static int prepare_waits(void) {
  char name[] = "/tmp/tumult-XXXXXX";
  struct timeval span = {0, 30000};
  int held = mkstemp(name);
  lock_file = open(name, O_RDWR);
  unlink(name);
  return held < 0 || pipe(ends) || socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) || socketpair(AF_UNIX, SOCK_STREAM, 0, timed_socket) ||
         setsockopt(timed_socket[0], SOL_SOCKET, SO_RCVTIMEO, &span, sizeof span) || flock(held, LOCK_EX);
}

static int start(const char *what, int count) {
  void *(*body)(void *) = strcmp(what, "join") == 0 ? join : strcmp(what, "fork") == 0 ? fork_and_wait : count_up;
  int waits = strcmp(what, "waits") == 0;
  pthread_t thread;
  if (waits && prepare_waits()) return 1;
  if (strcmp(what, "timer") == 0) {
    struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
    struct itimerval timer = {{0, 100}, {0, 100}};
    if (sigaction(SIGPROF, &action, NULL) || setitimer(ITIMER_PROF, &timer, NULL)) return 1;
  }
  for (int i = 0; i < (waits ? kinds : count); i++)
    if (pthread_create(&thread, NULL, waits ? wait_always : body, (void *)(intptr_t)i)) return 1;
  return 0;
}

int main(int argc, char **argv) {
  char word[64];
  setvbuf(stdout, NULL, _IONBF, 0);
  if (start(argc > 1 ? argv[1] : "join", argc > 2 ? atoi(argv[2]) : 4)) return 2;
  puts("ready");
  for (;;) {
    int got = scanf("%63s", word);
    if (got != 1 && errno == EINTR) { clearerr(stdin); failures++; continue; }
    if (got != 1) return 0;
    printf("rounds=%ld failures=%ld culprit=%d ticks=%ld dozen=%d.\n", atomic_exchange(&rounds, 0), failures, culprit,
      atomic_exchange(&ticks, 0), dozen());
  }
}
