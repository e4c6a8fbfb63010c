/* The vulnerable library. It believes the length that the peer claims instead of the length that arrived, and so sends back
 * whatever lies behind the message in memory: CVE-2014-0160, "Heartbleed", in ten lines. */
#include "heartbeat.h"

#include <string.h>

size_t heartbeat(const unsigned char *message, size_t length, unsigned char *answer) {
  size_t payload = (size_t)message[1] << 8 | message[2];
  if (length < heartbeat_header || message[0] != heartbeat_request || payload > heartbeat_largest) return 0;
  answer[0] = heartbeat_response;
  memcpy(answer + 1, message + 1, 2 + payload);
  return heartbeat_header + payload;
}
