/* Keeps connections to the server busy and counts every request and every answer.
 *
 * usage: client PORT CONNECTIONS
 * stdin: "count" tells the numbers so far; "probe" claims a longer payload than it sends, on a connection of its own, and
 * tells what came back; "quit" lets every connection finish its last request and tells the final numbers. */
#include "wire.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int port;
static _Atomic int stopping;
static _Atomic long sent, answered, failed, slowest;

static int dial(void) {
  struct sockaddr_in address = {
    .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  if (connect(fd, (struct sockaddr *)&address, sizeof address)) return -1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

static size_t request(unsigned char *message, size_t claimed, size_t given, unsigned fill) {
  message[0] = heartbeat_request;
  message[1] = (unsigned char)(claimed >> 8);
  message[2] = (unsigned char)claimed;
  memset(message + heartbeat_header, (int)fill, given);
  return heartbeat_header + given;
}

static long microseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void *keep_busy(void *argument) {
  unsigned char message[128], answer[1024];
  int fd = dial();
  for (unsigned n = (unsigned)(intptr_t)argument; !stopping; n++) {
    size_t length = request(message, 8 + n % 50, 8 + n % 50, 'a' + n % 26);
    long began = microseconds();
    sent++;
    message[0] = heartbeat_request;
    if (fd < 0 || wire_send(fd, message, length) || wire_receive(fd, answer, sizeof answer) != (long)length ||
        answer[0] != heartbeat_response || memcmp(answer + 1, message + 1, length - 1) != 0) {
      failed++;
      break; /* a connection that has failed once stays failed: nothing is smoothed over */
    }
    answered++;
    long took = microseconds() - began, worst = slowest;
    while (took > worst && !atomic_compare_exchange_weak(&slowest, &worst, took)) {}
    usleep(300);
  }
  close(fd);
  return NULL;
}

/* Four bytes are sent and 120 are claimed. A correct server discards that; the proper request behind it gets the answer. */
static void probe(void) {
  unsigned char message[128], answer[1024];
  int fd = dial();
  long length = -1;
  if (fd >= 0 && wire_send(fd, message, request(message, 120, 4, 'x')) == 0 &&
      wire_send(fd, message, request(message, 4, 4, 'y')) == 0)
    length = wire_receive(fd, answer, sizeof answer);
  if (length < 0) {
    puts("probe: no connection");
  } else if (length == heartbeat_header + 4) {
    puts("probe: nothing leaked");
  } else {
    printf("probe: %ld bytes for 4, among them: ", length - heartbeat_header);
    for (long i = heartbeat_header; i < length; i++)
      if (i >= heartbeat_header + 4 && answer[i] >= ' ' && answer[i] < 127) putchar(answer[i]);
    putchar('\n');
  }
  close(fd);
}

static void tell(int connections) {
  printf("connections=%d sent=%ld answered=%ld failed=%ld slowest_us=%ld.\n", connections, sent, answered, failed, slowest);
}

int main(int argc, char **argv) {
  char word[64];
  pthread_t threads[256];
  int count = argc == 3 ? atoi(argv[2]) : 0;
  setvbuf(stdout, NULL, _IONBF, 0);
  if (count < 1 || count > 256) return 2;
  port = atoi(argv[1]);
  for (int i = 0; i < count; i++)
    if (pthread_create(&threads[i], NULL, keep_busy, (void *)(intptr_t)(i * 7))) return 2;
  puts("ready");
  while (scanf("%63s", word) == 1 && strcmp(word, "quit") != 0) {
    if (strcmp(word, "probe") == 0) probe();
    if (strcmp(word, "count") == 0) tell(count);
  }
  stopping = 1;
  for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
  tell(count);
  return failed ? 1 : 0;
}
