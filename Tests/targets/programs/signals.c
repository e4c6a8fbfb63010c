/* Counts the signals it handles. Real-time signals are queued with a number each, so that a lost, doubled or overtaken one
 * shows; SIGUSR1 may merge, so only its presence is counted. */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

int dozen(void);

_Atomic long usr1, queued, sum, disorder; /* also read from outside */
_Atomic int last;

static void on_usr1(int number) { (void)number; usr1++; }

static void on_queued(int number, siginfo_t *info, void *context) {
  (void)number;
  (void)context;
  int value = info->si_value.sival_int;
  queued++;
  sum += value;
  if (value != last + 1) disorder++;
  last = value;
}

int main(void) {
  char word[64];
  struct sigaction plain = {.sa_handler = on_usr1, .sa_flags = SA_RESTART};
  struct sigaction numbered = {.sa_sigaction = on_queued, .sa_flags = SA_RESTART | SA_SIGINFO};
  sigaction(SIGUSR1, &plain, NULL);
  sigaction(SIGRTMIN, &numbered, NULL);
  setvbuf(stdout, NULL, _IONBF, 0);
  puts("ready");
  while (scanf("%63s", word) == 1) {
    if (strcmp(word, "dozen") == 0) printf("%d\n", dozen());
    if (strcmp(word, "report") == 0) printf("usr1=%ld queued=%ld sum=%ld disorder=%ld.\n", usr1, queued, sum, disorder);
  }
  puts("bye");
  return 0;
}
