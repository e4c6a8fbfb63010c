/* Blocks its main thread again and again in one system call and tells what each wait returned and how long it took.
 *
 * usage: idle read|accept|poll|epoll_wait|nanosleep|futex [MILLISECONDS [no-restart]]
 * no-restart: under a filter that ends the process for restart_syscall(2).
 * A helper thread reads stdin: "dozen" answers with the number, "poke" ends a wait of read or accept, "ignored" sends the
 * main thread a signal that it ignores, "report" tells the waits since the last report: how many, how many with EINTR or
 * another error, how many ended early, the longest. */
#include <errno.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "no_restart.h"

int dozen(void);

static pthread_t sleeper;
static int ends[2], listener, epoll;
static struct sockaddr_in address = {.sin_family = AF_INET};
static _Atomic long waits, interrupted, failed, early, longest;
static int never; /* the futex word nobody changes */

static long wait_once(const char *call, long ms) {
  struct timespec span = {ms / 1000, ms % 1000 * 1000000};
  struct pollfd one = {.fd = ends[0], .events = POLLIN};
  struct epoll_event event;
  char byte;
  if (strcmp(call, "read") == 0) return read(ends[0], &byte, 1);
  if (strcmp(call, "poll") == 0) return poll(&one, 1, (int)ms);
  if (strcmp(call, "epoll_wait") == 0) return epoll_wait(epoll, &event, 1, (int)ms);
  if (strcmp(call, "nanosleep") == 0) return nanosleep(&span, NULL);
  if (strcmp(call, "futex") == 0) return syscall(SYS_futex, &never, FUTEX_WAIT_PRIVATE, 0, &span, NULL, 0);
  if (strcmp(call, "accept") == 0) {
    int connection = accept(listener, NULL, NULL);
    return connection < 0 ? -1 : close(connection);
  }
  exit(2);
}

static void poke(void) {
  int client = socket(AF_INET, SOCK_STREAM, 0);
  if (write(ends[1], "x", 1) != 1 || connect(client, (struct sockaddr *)&address, sizeof address) < 0) perror("poke");
  close(client);
}

static void *answer(void *unused) {
  char word[64];
  while (scanf("%63s", word) == 1) {
    if (strcmp(word, "dozen") == 0) printf("%d\n", dozen());
    if (strcmp(word, "poke") == 0) poke();
    if (strcmp(word, "ignored") == 0) pthread_kill(sleeper, SIGCHLD);
    if (strcmp(word, "report") == 0)
      printf("waits=%ld interrupted=%ld failed=%ld early=%ld longest=%ld.\n", atomic_exchange(&waits, 0), interrupted,
        failed, early, atomic_exchange(&longest, 0));
  }
  puts("bye");
  exit(0);
  return unused;
}

int main(int argc, char **argv) {
  const char *call = argc > 1 ? argv[1] : "read";
  long ms = argc > 2 ? atol(argv[2]) : 300;
  int timed = strcmp(call, "read") != 0 && strcmp(call, "accept") != 0;
  pthread_t helper;
  socklen_t length = sizeof address;
  setvbuf(stdout, NULL, _IONBF, 0);
  sleeper = pthread_self();
  if (argc > 3 && forbid_restart_syscall()) return 2;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  listener = socket(AF_INET, SOCK_STREAM, 0);
  epoll = epoll_create1(0);
  if (pipe(ends) || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 8) ||
      getsockname(listener, (struct sockaddr *)&address, &length) || pthread_create(&helper, NULL, answer, NULL))
    return 2;
  puts("ready");
  for (;;) {
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    long result = wait_once(call, ms);
    int error = result < 0 ? errno : 0;
    clock_gettime(CLOCK_MONOTONIC, &to);
    long took = (to.tv_sec - from.tv_sec) * 1000000 + (to.tv_nsec - from.tv_nsec) / 1000;
    if (error == EINTR) interrupted++;
    else if (error && error != ETIMEDOUT) failed++;
    if (timed && took < ms * 1000 - 1000) early++;
    if (took > longest) longest = took;
    waits++;
  }
}
