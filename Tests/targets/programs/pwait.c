/* Waits with epoll_pwait for a signal that is blocked everywhere else, as a careful event loop does: when the handler has
 * run, the wait must have ended with EINTR, or the loop would never look at what the handler has left for it. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/epoll.h>

int dozen(void);

static _Atomic int handled, noticed, spurious;

static void on_signal(int number) {
  (void)number;
  handled++;
}

static void *wait_for_signals(void *unused) {
  int epoll = epoll_create1(0);
  struct epoll_event event;
  sigset_t none;
  sigemptyset(&none);
  for (;;) {
    int before = handled;
    if (epoll_pwait(epoll, &event, 1, -1, &none) < 0 && errno == EINTR) {
      if (handled != before) noticed = handled;
      else spurious++;
    }
  }
  return unused;
}

int main(void) {
  char word[64];
  pthread_t thread;
  sigset_t blocked;
  struct sigaction action = {.sa_handler = on_signal};
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  setvbuf(stdout, NULL, _IONBF, 0);
  if (sigprocmask(SIG_BLOCK, &blocked, NULL) || sigaction(SIGUSR1, &action, NULL)) return 2;
  if (pthread_create(&thread, NULL, wait_for_signals, NULL)) return 2;
  puts("ready");
  while (scanf("%63s", word) == 1) printf("handled=%d noticed=%d spurious=%d dozen=%d.\n", handled, noticed, spurious, dozen());
  return 0;
}
