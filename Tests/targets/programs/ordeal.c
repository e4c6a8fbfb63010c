/* A process all of whose threads, the main thread included, are in a bad place to be borrowed.
 *
 * usage: ordeal MODE [COUNT [LIMIT]]
 * vforks: parents that stand in vfork(2) nearly always; vfork: with 2 ms between. trim: malloc_trim(3). alternate: handlers
 * of 20 ms on alternate stacks, and 5 ms between; always: nothing between. coroutine: four coroutines of 16 KiB in each
 * thread, whose sum is known. sleep, busy: what they say; busy threads are nice to others. hz: COUNT timer signals a second,
 * handled or told as overruns.
 * Ends after LIMIT seconds (300).
 * On stdin: "tell" answers with rounds since the last question, failures, and the number; "leave N" ends in N us. */
#define _GNU_SOURCE
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

int dozen(void);

static _Atomic long rounds, failures;

static void expect(int well) {
  if (!well) failures++;
}

static void count_one(void) {
  int number = dozen();
  expect(number == 12 || number == 13);
}

/* The modes: what a thread does again and again. */

static void turn_vforks(void) {
  int status = 0;
  pid_t child = vfork();
  if (child == 0) {
    nanosleep(&(struct timespec){0, 2000000}, NULL);
    _exit(dozen());
  }
  expect(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
  expect(WEXITSTATUS(status) == 12 || WEXITSTATUS(status) == 13);
}

static void turn_vfork(void) {
  turn_vforks();
  usleep(2000);
}

static void turn_trim(void) {
  void *volatile block = malloc(200000);
  expect(block != NULL);
  free(block);
  malloc_trim(0);
  count_one();
}

/* On an alternate stack; `value` and the sum are lost if somebody else uses it. */
static void on_signal(int number) {
  volatile long sum = 0;
  volatile char room[4096];
  stack_t now;
  struct timespec from, to;
  memset((char *)room, 0x5a, sizeof room);
  expect(number == SIGUSR1 && sigaltstack(NULL, &now) == 0 && now.ss_flags & SS_ONSTACK);
  clock_gettime(CLOCK_MONOTONIC, &from);
  do {
    sum = 0;
    for (long i = 1; i <= 2000; i++) sum += i;
    expect(sum == 2001000);
    count_one();
    poll(NULL, 0, 1);
    clock_gettime(CLOCK_MONOTONIC, &to);
  } while ((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 < 20);
  for (size_t i = 0; i < sizeof room; i++) expect(room[i] == 0x5a);
}

static void turn_always(void) {
  static _Thread_local stack_t stack;
  if (!stack.ss_sp) {
    stack.ss_size = 65536, stack.ss_sp = malloc(stack.ss_size);
    expect(sigaltstack(&stack, NULL) == 0);
  }
  raise(SIGUSR1);
}

static void turn_alternate(void) {
  turn_always();
  usleep(5000);
}

enum { coroutines = 4, stack_size = 16384, steps = 50 };
struct coroutine { ucontext_t context, *home; long sum; unsigned char fence[256], stack[stack_size]; };

static void compute(unsigned low, unsigned high) {
  struct coroutine *self = (struct coroutine *)((unsigned long)high << 32 | low);
  for (long i = 1; i <= steps; i++) {
    self->sum += i;
    count_one();
    swapcontext(&self->context, self->home);
  }
}

static void turn_coroutine(void) {
  static _Thread_local struct coroutine *all;
  ucontext_t home;
  if (!all) all = calloc(coroutines, sizeof *all);
  for (int i = 0; i < coroutines; i++) {
    unsigned long address = (unsigned long)&all[i];
    memset(all[i].fence, 0x5a, sizeof all[i].fence);
    all[i].sum = 0, all[i].home = &home;
    getcontext(&all[i].context);
    all[i].context.uc_stack.ss_sp = all[i].stack, all[i].context.uc_stack.ss_size = stack_size;
    all[i].context.uc_link = &home;
    makecontext(&all[i].context, (void (*)(void))compute, 2, (unsigned)address, (unsigned)(address >> 32));
  }
  for (int step = 0; step <= steps; step++)
    for (int i = 0; i < coroutines; i++) swapcontext(&home, &all[i].context);
  for (int i = 0; i < coroutines; i++) {
    expect(all[i].sum == steps * (steps + 1) / 2);
    for (size_t at = 0; at < sizeof all[i].fence; at++) expect(all[i].fence[at] == 0x5a);
  }
}

static void turn_busy(void) {
  volatile long sum = 0;
  for (long i = 1; i <= 2000; i++) sum += i;
  expect(sum == 2001000);
  count_one();
}

static void turn_sleep(void) {
  count_one();
  expect(usleep(200000) == 0);
}

/* A timer's signals: each is handled or told as an overrun of one that is. */
static struct timespec began;
static _Atomic long handled;
static long interval;

static void on_timer(int number, siginfo_t *info, void *context) {
  (void)number;
  (void)context;
  handled += 1 + info->si_overrun; /* timer_getoverrun(2) would tell that of the other thread's signal */
  count_one();
}

static int start_timer(long rate) {
  struct sigaction action = {.sa_sigaction = on_timer, .sa_flags = SA_RESTART | SA_SIGINFO};
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1};
  timer_t timer;
  interval = 1000000000 / rate;
  struct itimerspec span = {{0, interval}, {0, interval}};
  clock_gettime(CLOCK_MONOTONIC, &began);
  return sigaction(SIGRTMIN + 1, &action, NULL) || timer_create(CLOCK_MONOTONIC, &event, &timer) ||
         timer_settime(timer, 0, &span, NULL);
}

/* How many of the timer's signals are missing; negative if there were too many. */
static long missing(void) {
  struct timespec now;
  long seen = handled;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return ((now.tv_sec - began.tv_sec) * 1000000000 + now.tv_nsec - began.tv_nsec) / interval - seen;
}

static const struct { const char *name; void (*turn)(void); } modes[] = {
  {"vfork", turn_vfork}, {"vforks", turn_vforks}, {"trim", turn_trim}, {"alternate", turn_alternate}, {"always", turn_always}, {"coroutine", turn_coroutine},
  {"busy", turn_busy}, {"sleep", turn_sleep}, {"hz", turn_busy},
};
static void (*turn)(void);

static void *work(void *unused) {
  for (;; rounds++) turn();
  return unused;
}

/* Answers what stands on stdin, if anything does. Whether to go on. */
static int answer(void) {
  struct pollfd input = {.fd = 0, .events = POLLIN};
  char word[64] = "";
  if (poll(&input, 1, 0) <= 0) return 1;
  ssize_t length = read(0, word, sizeof word - 1);
  if (length == 0) return 0;
  if (strncmp(word, "leave ", 6) == 0) {
    usleep((useconds_t)atoi(word + 6));
    return 0;
  }
  if (length > 0)
    printf("rounds=%ld failures=%ld missing=%ld dozen=%d.\n", atomic_exchange(&rounds, 0), failures, interval ? missing() : 0, dozen());
  return 1;
}

int main(int argc, char **argv) {
  int count = argc > 2 ? atoi(argv[2]) : 4;
  int is_hz = argc > 1 && strcmp(argv[1], "hz") == 0;
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_RESTART};
  pthread_attr_t small;
  setvbuf(stdout, NULL, _IONBF, 0);
  for (size_t i = 0; argc > 1 && i < sizeof modes / sizeof *modes; i++)
    if (strcmp(argv[1], modes[i].name) == 0) turn = modes[i].turn;
  if (!turn || sigaction(SIGUSR1, &action, NULL)) return 2;
  alarm(argc > 3 ? (unsigned)atoi(argv[3]) : 300);
  if ((turn == turn_busy && !is_hz && nice(19) == -1) || (is_hz && start_timer(count))) return 2;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 65536);
  for (int i = 1; i < (is_hz ? 2 : count); i++) {
    pthread_t thread;
    if (pthread_create(&thread, &small, work, NULL)) return 2;
  }
  puts("ready");
  for (; answer(); rounds++) turn();
  return 0;
}
