/* A patch whose constructor leaves the process other than it was: what a receipt is to tell. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static char room[65536];

__attribute__((constructor)) static void meddle(void) {
  sigset_t set;
  stack_t other = {.ss_sp = room, .ss_size = sizeof room};
  struct rlimit core = {0, 0};
  struct sigevent quietly = {.sigev_notify = SIGEV_NONE};
  timer_t timer;
  struct itimerval hour = {{3600, 0}, {3600, 0}};
  umask(0077);
  if (chdir("/") || open("/dev/null", O_RDONLY) < 0 || sigaltstack(&other, NULL) || setrlimit(RLIMIT_CORE, &core))
    perror("meddle");
  signal(SIGUSR2, SIG_IGN);
  setitimer(ITIMER_REAL, &hour, NULL);
  timer_create(CLOCK_MONOTONIC, &quietly, &timer);
  close(2);
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, NULL); /* given back with the borrowed thread */
}

int dozen_meddle(void) { return 13; }
