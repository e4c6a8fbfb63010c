/* Forks when it is told to, also while another of its threads is busy. The last child answers for itself.
 *
 * "fork" forks at once, "later" 150 ms from now; "dozen" asks the parent, "ask" the last child. The worker thread sleeps.
 * usage: forker [BUSY]: that many more threads call the function and the allocator without pause, for two minutes at most. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int dozen(void);

static int pipes[2];
static volatile int worker_tid;

static void *work(void *unused) {
  worker_tid = (int)syscall(SYS_gettid);
  for (;;) pause();
  return unused;
}

static void *call(void *unused) {
  for (;;) {
    void *volatile block = malloc(100 + (size_t)dozen());
    free(block);
  }
  return unused;
}

static void serve(int requests) {
  char byte;
  printf("child=%d\n", getpid());
  while (read(requests, &byte, 1) == 1) printf("child says %d\n", dozen());
  _exit(0);
}

static void fork_child(void) {
  if (pipe(pipes)) _exit(3);
  if (fork() == 0) {
    close(pipes[1]);
    serve(pipes[0]);
  }
  close(pipes[0]);
}

int main(int argc, char **argv) {
  char word[64];
  pthread_t thread, busy;
  setvbuf(stdout, NULL, _IONBF, 0);
  if (pthread_create(&thread, NULL, work, NULL)) return 2;
  if (argc > 1) alarm(120);
  for (int i = 0; argc > 1 && i < atoi(argv[1]); i++)
    if (pthread_create(&busy, NULL, call, NULL)) return 2;
  while (!worker_tid) usleep(100);
  puts("ready");
  while (scanf("%63s", word) == 1) {
    if (strcmp(word, "worker") == 0) printf("worker=%d\n", worker_tid);
    if (strcmp(word, "later") == 0) usleep(150000);
    if (strcmp(word, "later") == 0 || strcmp(word, "fork") == 0) fork_child();
    if (strcmp(word, "dozen") == 0) printf("parent says %d\n", dozen());
    if (strcmp(word, "ask") == 0 && write(pipes[1], "x", 1) != 1) return 4;
  }
  return 0;
}
