/* What the kill sweep kills its tool in: threads that compute in vector registers and check themselves, threads that sleep
 * in every kind of system call that a stop interrupts, counted signals, three libraries to be patched.
 *
 * usage: endurer THREADS      1: this one thread does everything, and sleeps in poll(2)
 *
 * "now" answers which versions this thread gets of the three functions, one digit each; "tell" the tallies so far:
 * wrong results, lost registers, EINTR of calls that the kernel restarts (`broken`), EINTR of those that it never restarts
 * (`eintr`), failed waits, signals, and how many threads have done nothing since the last "mark". */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

long mix(long, long, long, long, long, long, long, long, double, double, double, double, double, double, double, double,
  double, double);
int dozen(void);
int version(void);

enum { most = 128, wait_ms = 120 };
/* Calls that answer EINTR to every stop come first. */
enum { epoll_plain, epoll_new, semaphore, signal_wait, events_wait, timed_receive, timed_accept, restarted };
enum { pipe_read = restarted, poll_wait, select_wait, sleep_for, sleep_until, futex_wait, accept_wait, receive, message, pausing, kinds };

static _Atomic long wrong, registers, broken, eintr, failed, signals, work[most + kinds];
static int ends[2], pair[2], timed_pair[2], listener, timed_listener, epoll, semaphores, queue, never;
static aio_context_t events;

static void on_signal(int number) {
  (void)number;
  atomic_fetch_add(&signals, 1);
}

/* All in registers, so that a stop anywhere in the loop tests them: two vectors, one integer, and the red zone. */
__attribute__((target("avx"), noinline)) static int registers_hold(uint64_t seed, uint64_t turns) {
  uint64_t in[4] = {seed, ~seed, seed * 3, seed ^ 0x5555}, a[4], b[4], red, kept;
  __asm__ volatile(
    "vmovdqu (%[in]), %%ymm0\n\tvmovdqu (%[in]), %%ymm15\n\tmov %[seed], %%r12\n\tmov %[seed], -64(%%rsp)\n"
    "1:\tadd $1, %%r12\n\tsub $1, %%r12\n\tdec %[turns]\n\tjnz 1b\n\t"
    "vmovdqu %%ymm0, (%[a])\n\tvmovdqu %%ymm15, (%[b])\n\tmov %%r12, %[kept]\n\tmov -64(%%rsp), %[red]"
    : [turns] "+r"(turns), [kept] "=&r"(kept), [red] "=&r"(red)
    : [in] "r"(in), [a] "r"(a), [b] "r"(b), [seed] "r"(seed)
    : "xmm0", "xmm15", "r12", "memory", "cc");
  return memcmp(in, a, sizeof in) == 0 && memcmp(in, b, sizeof in) == 0 && kept == seed && red == seed;
}

/* 0 for the original, 1 for the patch, 9 for neither. */
static int mix_version(long n) {
  long sum = 2 * ((n + 2 * 2 + 3 * 3 + 4 * 4 + 5 * 5 + 6 * 6 + 7 * 7 + 8 * n) + (10 + 22 + 36 + 52 + 70 + 90 + 112 + 136 + 162 + 190));
  long got = mix(n, 2, 3, 4, 5, 6, 7, n, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19);
  return got == sum ? 0 : got == sum + 1 ? 1 : 9;
}

static void compute(int self, long n) {
  int pieces = dozen(), number = version();
  if (mix_version(n) == 9 || pieces < 12 || pieces > 13 || number < 0 || number > 3) wrong++;
  if (!registers_hold((uint64_t)n * 0x9e3779b97f4a7c15u + (uint64_t)self, 3000)) registers++;
  work[self]++;
}

static void *calculate(void *argument) {
  int self = (int)(intptr_t)argument;
  struct timespec nap = {0, 2000000};
  for (long n = 1;; n++) {
    compute(self, n);
    /* One computes all the time, the others sleep most of it: that many threads are to fit on any machine. */
    long before = signals;
    if (self > 0 && nanosleep(&nap, NULL) && errno == EINTR && signals == before) broken++;
  }
  return NULL;
}

static long wait_once(int kind) {
  struct timespec span = {0, wait_ms * 1000000l}, until;
  struct timeval limit = {0, wait_ms * 1000};
  struct pollfd one = {.fd = ends[0], .events = POLLIN};
  struct epoll_event event;
  struct sembuf take = {.sem_num = 0, .sem_op = -1};
  struct { long type; char text[8]; } letter;
  struct io_event done;
  fd_set set;
  sigset_t wanted;
  char byte;
  switch (kind) {
  case epoll_plain: return epoll_wait(epoll, &event, 1, wait_ms);
  case epoll_new: return syscall(SYS_epoll_pwait2, epoll, &event, 1, &span, NULL, 0);
  case semaphore: return semtimedop(semaphores, &take, 1, &span);
  case signal_wait: sigemptyset(&wanted); sigaddset(&wanted, SIGRTMAX); return sigtimedwait(&wanted, NULL, &span);
  case events_wait: return syscall(SYS_io_getevents, events, 1, 1, &done, &span);
  case timed_receive: return recv(timed_pair[0], &byte, 1, 0);
  case timed_accept: return accept(timed_listener, NULL, NULL);
  case pipe_read: return read(ends[0], &byte, 1);
  case poll_wait: return poll(&one, 1, wait_ms);
  case select_wait: FD_ZERO(&set); FD_SET(ends[0], &set); return select(ends[0] + 1, &set, NULL, NULL, &limit);
  case sleep_for: return nanosleep(&span, NULL);
  case sleep_until:
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += wait_ms * 1000000l;
    if (until.tv_nsec >= 1000000000) until.tv_nsec -= 1000000000, until.tv_sec++;
    errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    return errno ? -1 : 0;
  case futex_wait: return syscall(SYS_futex, &never, FUTEX_WAIT_PRIVATE, 0, &span, NULL, 0);
  case accept_wait: return accept(listener, NULL, NULL);
  case receive: return recv(pair[0], &byte, 1, 0);
  case message: return msgrcv(queue, &letter, sizeof letter.text, 0, 0);
  default: return pause();
  }
}

/* The program's own signals are blocked here: an EINTR is a tracer's. */
static void *wait_for_ever(void *argument) {
  int kind = (int)(intptr_t)argument;
  for (;;) {
    long result = wait_once(kind);
    int error = result < 0 ? errno : 0;
    if (error == EINTR) kind < restarted ? eintr++ : broken++;
    else if (error && error != EAGAIN && error != EWOULDBLOCK && error != ETIMEDOUT) failed++;
    /* Nothing ever comes: a wait without a time limit has no other end. */
    else if (!error && (kind == pipe_read || kind >= accept_wait)) failed++;
    work[most + kind]++;
  }
  return NULL;
}

static int open_all(void) {
  struct timeval limit = {0, wait_ms * 1000};
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  epoll = epoll_create1(0);
  listener = socket(AF_INET, SOCK_STREAM, 0);
  timed_listener = socket(AF_INET, SOCK_STREAM, 0);
  semaphores = semget(IPC_PRIVATE, 1, 0600);
  queue = msgget(IPC_PRIVATE, 0600);
  int bad = pipe(ends) || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || socketpair(AF_UNIX, SOCK_STREAM, 0, timed_pair) ||
            bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1) ||
            bind(timed_listener, (struct sockaddr *)&address, sizeof address) || listen(timed_listener, 1) ||
            semaphores < 0 || queue < 0 || syscall(SYS_io_setup, 1, &events);
  setsockopt(timed_pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(timed_listener, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  return bad;
}

static void close_all(void) {
  semctl(semaphores, 0, IPC_RMID);
  msgctl(queue, IPC_RMID, NULL);
}

static void answer(const char *word, int threads) {
  static long seen[most + kinds];
  int idle = 0;
  if (strcmp(word, "now") == 0) {
    printf("now %d%d%d.\n", mix_version(77), dozen() - 12, version());
    return;
  }
  for (int i = 0; i < most + kinds; i++) {
    /* The waits without a time limit never end: they are not asked. */
    int asked = i < most ? i < threads : threads > 1 && i - most != pipe_read && i - most < accept_wait;
    if (asked && work[i] == seen[i]) idle++;
    if (*word == 'm') seen[i] = work[i];
  }
  if (*word == 'm') {
    puts("mark.");
    return;
  }
  printf("tell wrong=%ld registers=%ld broken=%ld eintr=%ld failed=%ld signals=%ld idle=%d.\n", wrong, registers, broken, eintr,
    failed, signals, idle);
}

/* Bytes up to a newline; never blocks for the rest of a line that has not come. */
static int take_word(char *word, size_t room) {
  static char line[64];
  static size_t length;
  ssize_t got = read(0, line + length, sizeof line - length);
  if (got <= 0) return -1;
  length += (size_t)got;
  char *end = memchr(line, '\n', length);
  if (!end) return 0;
  *end = 0;
  snprintf(word, room, "%s", line);
  length -= (size_t)(end + 1 - line);
  memmove(line, end + 1, length);
  return 1;
}

int main(int argc, char **argv) {
  int count = argc > 1 ? atoi(argv[1]) : 8;
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigset_t ours;
  char word[64];
  if (count < 1 || count > most) return 2;
  setvbuf(stdout, NULL, _IONBF, 0);
  sigaction(SIGRTMIN, &action, NULL);
  sigemptyset(&ours);
  sigaddset(&ours, SIGRTMIN);
  if (count > 1) {
    if (open_all()) return 2;
    for (intptr_t i = 0; i < count + kinds; i++) {
      pthread_t thread;
      pthread_sigmask(i < count ? SIG_UNBLOCK : SIG_BLOCK, &ours, NULL);
      if (pthread_create(&thread, NULL, i < count ? calculate : wait_for_ever, (void *)(i < count ? i : i - count))) return 2;
    }
  }
  puts("ready");
  for (long n = 1;; n++) {
    struct pollfd input = {.fd = 0, .events = POLLIN};
    long before = signals;
    if (count == 1) compute(0, n);
    int ready = poll(&input, 1, count == 1 ? 2 : 100);
    if (ready < 0 && errno == EINTR && signals == before) broken++;
    if (ready <= 0) continue;
    int got = take_word(word, sizeof word);
    if (got < 0) break;
    if (got > 0) answer(word, count);
  }
  if (count > 1) close_all();
  return 0;
}
