/* ring_test.c: the message ring against the algorithm as SUSE's interface describes it, step by step. Built together with
 * the runtime's own messages.c and text.c.
 */
#include "runtime.h"
#include "tap.h"
#include <string.h>

struct pulp_msg_queue __ulp_msg_queue;
static struct pulp_msg_queue model;
enum { N = PULP_MSG_RING_SIZE };

static void model_push(const char *string, uint32_t n) {
  if (n <= 1 || n > N) return;
  if (model.top + n >= N) {
    memset(model.ring + model.top, 0, N - model.top);
    model.distance += N - model.top;
    model.top = 0;
  }
  while (model.distance + n >= N) {
    while (model.ring[model.bottom]) model.bottom = (model.bottom + 1) % N, model.distance--;
    while (!model.ring[model.bottom]) model.bottom = (model.bottom + 1) % N, model.distance--;
  }
  memcpy(model.ring + model.top, string, n);
  model.distance += n;
  model.top = (model.top + n) % N;
}

static bool readable(void) { /* what a reader prints: whole lines, the newest last */
  uint32_t at = __ulp_msg_queue.bottom, left = __ulp_msg_queue.distance, length = 0;
  for (; left; left--, at = (at + 1) % N) {
    char byte = __ulp_msg_queue.ring[at];
    if (byte) {
      if (length == 0 && byte != '<') return false;
      length++;
    } else if (length) {
      if (__ulp_msg_queue.ring[(at + N - 1) % N] != '>') return false;
      length = 0;
    }
  }
  return length == 0;
}

static uint32_t make(char *text, uint32_t length) {
  memset(text, 'a' + length % 26, length);
  text[0] = '<', text[length - 1] = '>', text[length] = 0;
  return length + 1;
}

static void compare(uint32_t longest, int pushes, const char *name) {
  static char text[N + 16];
  int different = 0, unreadable = 0;
  memset(&model, 0, sizeof model), memset(&__ulp_msg_queue, 0, sizeof model);
  for (int i = 0; i < pushes; i++) {
    uint32_t size = make(text, 2 + rand() % longest);
    model_push(text, size), pulp_message_push(text, size);
    different += model.top != __ulp_msg_queue.top || model.bottom != __ulp_msg_queue.bottom || model.distance != __ulp_msg_queue.distance;
    if (i % 97 == 0) unreadable += !readable();
  }
  different += memcmp(model.ring, __ulp_msg_queue.ring, N) != 0;
  ok(!different && !unreadable, "%s: %d pushes, %d differ, %d unreadable", name, pushes, different, unreadable);
}

int main(void) {
  static char text[N + 16];
  srand(3);
  compare(60, 200000, "short messages");
  compare(2048, 20000, "messages up to 2 KiB");
  compare(300000, 300, "very long messages");
  memset(&__ulp_msg_queue, 0, sizeof model);
  pulp_message_push("one", 4), pulp_message_push("two", 4);
  ok(pulp_message_is_newest("two", 4) && !pulp_message_is_newest("one", 4) && !pulp_message_is_newest("wo", 3), "the newest is known");
  memset(&__ulp_msg_queue, 0, sizeof model);
  pulp_message_push("", 1);
  pulp_message_push(text, make(text, N + 8));
  is(__ulp_msg_queue.distance, 0, "empty and overlong messages are dropped");
  pulp_message("libpulp loaded...\n");
  ok(!strcmp(__ulp_msg_queue.ring, "libpulp loaded...\n") && __ulp_msg_queue.distance == 19 && __ulp_msg_queue.top == 19, "one message");
  __ulp_msg_queue.bottom = 0xffffffff;
  pulp_message("x\n");
  is(__ulp_msg_queue.distance, 19, "a ring that the host has overwritten is left alone");
  return done();
}
