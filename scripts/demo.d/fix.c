/* The live patch: the same function with the check that was missing. A claim that goes beyond what arrived is discarded in
 * silence, as RFC 6520 demands. */
#include "heartbeat.h"

#include <string.h>

size_t heartbeat_fixed(const unsigned char *message, size_t length, unsigned char *answer) {
  if (length < heartbeat_header || message[0] != heartbeat_request) return 0;
  size_t payload = (size_t)message[1] << 8 | message[2];
  if (payload > heartbeat_largest || heartbeat_header + payload > length) return 0;
  answer[0] = heartbeat_response;
  memcpy(answer + 1, message + 1, 2 + payload);
  return heartbeat_header + payload;
}
