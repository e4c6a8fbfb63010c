/* heartbeat.h: a connection's "are you still there?", modelled on TLS heartbeats (RFC 6520).
 *
 * On the wire every message is preceded by its length in two bytes, the high one first. A message is one byte for the type,
 * two for the length of the payload, then the payload, which the answer has to repeat. */
#ifndef HEARTBEAT_H
#define HEARTBEAT_H

#include <stddef.h>

enum { heartbeat_request = 1, heartbeat_response = 2, heartbeat_header = 3, heartbeat_largest = 512 };

/* Writes the answer to `message` and returns its length, 0 if there is none. */
size_t heartbeat(const unsigned char *message, size_t length, unsigned char *answer);

#endif
