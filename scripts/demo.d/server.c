/* A small TCP server on the loopback interface, one thread for each connection, that answers heartbeats.
 * Prints its port; ends with its input. */
#include "wire.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct connection {
  int fd;
  unsigned char message[heartbeat_header + 64];
  char secret[64]; /* what an attacker is after; it lies behind the message by accident, as such things do */
  unsigned char answer[heartbeat_header + heartbeat_largest];
};

static void *serve(void *argument) {
  struct connection *connection = argument;
  long length;
  while ((length = wire_receive(connection->fd, connection->message, sizeof connection->message)) >= 0) {
    size_t answer = heartbeat(connection->message, (size_t)length, connection->answer);
    if (answer && wire_send(connection->fd, connection->answer, answer)) break;
  }
  close(connection->fd);
  free(connection);
  return NULL;
}

static void *accept_all(void *argument) {
  int listener = *(int *)argument, on = 1;
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    struct connection *connection = fd < 0 ? NULL : calloc(1, sizeof *connection);
    pthread_t thread;
    if (!connection) exit(1);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connection->fd = fd;
    strcpy(connection->secret, "private key: 7Ae9-kX42-swordfish-QQ17");
    if (pthread_create(&thread, NULL, serve, connection) || pthread_detach(thread)) exit(1);
  }
  return NULL;
}

int main(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  pthread_t acceptor;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  setvbuf(stdout, NULL, _IONBF, 0);
  if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 64) ||
      getsockname(listener, (struct sockaddr *)&address, &size) ||
      pthread_create(&acceptor, NULL, accept_all, &listener))
    return 1;
  printf("port %d\n", ntohs(address.sin_port));
  while (getchar() != EOF) {}
  return 0;
}
