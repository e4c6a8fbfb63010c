/* Replaces itself by itself every few milliseconds, now from the main thread and now from another, with threads beside that
 * the kernel has to end first. usage: execs [ROUND] */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int dozen(void);

static int number;

static void *idle(void *unused) {
  for (;;) pause();
  return unused;
}

static void *again(void *unused) {
  char text[16];
  snprintf(text, sizeof text, "%d", number + 1);
  execl("/proc/self/exe", "execs", text, (char *)NULL);
  _exit(1);
  return unused;
}

int main(int argc, char **argv) {
  pthread_t thread;
  char word[64];
  struct pollfd input = {.fd = 0, .events = POLLIN};
  setvbuf(stdout, NULL, _IONBF, 0);
  setvbuf(stdin, NULL, _IONBF, 0); /* what was read and not used would be lost with the program */
  number = argc > 1 ? atoi(argv[1]) : 0;
  for (int i = 0; i < 3; i++)
    if (pthread_create(&thread, NULL, idle, NULL)) return 2;
  if (number == 0) puts("ready");
  if (poll(&input, 1, 1 + number % 7) > 0) {
    if (scanf("%63s", word) != 1) return 0;
    printf("round=%d dozen=%d.\n", number, dozen());
  }
  if (number % 2) again(NULL);
  if (pthread_create(&thread, NULL, again, NULL)) return 2;
  idle(NULL);
}
