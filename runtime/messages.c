/* messages.c: SUSE's message ring, which tools read from outside while nobody of ours runs. Pushing is a copy and three
 * stores: no lock (only the constructor and the one carrier push), no allocation, no system call.
 *
 * Strings never wrap: one that would reach the end starts over at 0, and the rest of the buffer becomes zeros that
 * belong to the string before it. The oldest strings make room. `distance` is stored last, so that a reader sees at
 * worst the state before.
 */
#include "runtime.h"

enum { RING = PULP_MSG_RING_SIZE };

static void drop_oldest(struct pulp_msg_queue *queue) {
  uint32_t bottom = queue->bottom, left = queue->distance;
  while (left && queue->ring[bottom]) bottom = (bottom + 1) % RING, left--;
  while (left && !queue->ring[bottom]) bottom = (bottom + 1) % RING, left--;
  queue->bottom = bottom;
  queue->distance = left;
}

void pulp_message_push(const char *string, size_t size) {
  struct pulp_msg_queue *queue = &__ulp_msg_queue;
  if (size <= 1 || size > RING) return; /* size counts the NUL */
  if (queue->top >= RING || queue->bottom >= RING || queue->distance > RING) return; /* overwritten by the host */
  uint32_t rest = queue->top + size >= RING ? RING - queue->top : 0;
  while (queue->distance && queue->distance + rest + size >= RING) drop_oldest(queue);
  if (rest) {
    pulp_zero(queue->ring + queue->top, rest);
    if (!queue->distance) queue->bottom = 0;
    else queue->distance += rest;
    queue->top = 0;
  }
  pulp_copy(queue->ring + queue->top, string, size);
  queue->top = (uint32_t)((queue->top + size) % RING);
  PULP_PUBLISH(queue->distance, queue->distance + (uint32_t)size);
}

/* Whether the newest string is this one. A string never wraps, so it lies right before `top`. */
bool pulp_message_is_newest(const char *string, size_t size) {
  const struct pulp_msg_queue *queue = &__ulp_msg_queue;
  if (queue->top >= RING || queue->top < size || queue->distance < size) return false;
  const char *start = queue->ring + queue->top - size;
  return pulp_equal(start, string, size) && (start == queue->ring || !start[-1]);
}

void pulp_message(const char *string) { pulp_message_push(string, pulp_length(string) + 1); }
