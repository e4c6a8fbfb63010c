/* wire.h: whole messages over a stream socket; shared by server and clients. */
#ifndef WIRE_H
#define WIRE_H

#include "heartbeat.h"

#include <sys/socket.h>
#include <unistd.h>

static int wire_move(int fd, unsigned char *bytes, size_t count, int sending) {
  while (count > 0) {
    ssize_t moved = sending ? send(fd, bytes, count, MSG_NOSIGNAL) : recv(fd, bytes, count, 0);
    if (moved <= 0) return -1; /* EINTR too: a patch must not be noticed, not even so */
    bytes += moved;
    count -= (size_t)moved;
  }
  return 0;
}

static int wire_send(int fd, unsigned char *message, size_t length) {
  unsigned char prefix[2] = {(unsigned char)(length >> 8), (unsigned char)length};
  return wire_move(fd, prefix, 2, 1) || wire_move(fd, message, length, 1) ? -1 : 0;
}

/* Returns the message's length, -1 at the end of the connection or for a message that does not fit. */
static long wire_receive(int fd, unsigned char *message, size_t capacity) {
  unsigned char prefix[2];
  if (wire_move(fd, prefix, 2, 0)) return -1;
  size_t length = (size_t)prefix[0] << 8 | prefix[1];
  return length > capacity || wire_move(fd, message, length, 0) ? -1 : (long)length;
}

#endif
