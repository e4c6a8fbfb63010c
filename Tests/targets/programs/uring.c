/* Has a thread that the kernel made for itself (io_uring's submission poller), beside one that waits for a completion which
 * never comes. Says "none" where io_uring is not to be had. */
#include <errno.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int dozen(void);

static int ring;
static _Atomic int interrupted;

static void *wait_for_completion(void *unused) {
  for (;;)
    if (syscall(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0 && errno == EINTR) interrupted++;
  return unused;
}

int main(void) {
  struct io_uring_params parameters = {.flags = IORING_SETUP_SQPOLL, .sq_thread_idle = 1000};
  pthread_t thread;
  char word[64];
  setvbuf(stdout, NULL, _IONBF, 0);
  ring = (int)syscall(SYS_io_uring_setup, 8, &parameters);
  if (ring < 0) return puts("none") < 0;
  if (pthread_create(&thread, NULL, wait_for_completion, NULL)) return 2;
  puts("ready");
  while (scanf("%63s", word) == 1) printf("dozen=%d interrupted=%d.\n", dozen(), interrupted);
  return 0;
}
