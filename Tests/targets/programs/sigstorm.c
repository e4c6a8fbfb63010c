/* Sends PID the real-time signal SIGRTMIN COUNT times with the numbers 1 to COUNT, one every MICROSECONDS.
 * usage: sigstorm PID COUNT MICROSECONDS */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  int count = atoi(argv[2]);
  for (int i = 1; i <= count; i++) {
    while (sigqueue(atoi(argv[1]), SIGRTMIN, (union sigval){.sival_int = i})) {
      if (errno != EAGAIN) { /* the queue is full: the target has had no time yet */
        perror("sigqueue");
        return 1;
      }
      usleep(1000);
    }
    usleep((useconds_t)atoi(argv[3]));
  }
  printf("sent %d\n", count);
  return 0;
}
