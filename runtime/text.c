/* text.c: bytes and short texts without libc. Runs inside the target, also behind SUSE's entry points, whose caller
 * saves no vector registers: libc's memcpy and strlen would use those, so the few loops needed are here. (They are also
 * functions chosen at load time: needing one makes the loader run through pages of libc at every start.)
 */
#include "runtime.h"

void pulp_copy(void *to, const void *from, size_t size) {
  uint8_t *target = to;
  const uint8_t *source = from;
  for (size_t index = 0; index < size; index++) target[index] = source[index];
}

void pulp_zero(void *at, size_t size) {
  uint8_t *target = at;
  for (size_t index = 0; index < size; index++) target[index] = 0;
}

bool pulp_equal(const void *a, const void *b, size_t size) {
  const uint8_t *left = a, *right = b;
  for (size_t index = 0; index < size; index++)
    if (left[index] != right[index]) return false;
  return true;
}

size_t pulp_length(const char *string) {
  size_t length = 0;
  while (string[length]) length++;
  return length;
}

static void append(struct pulp_text *text, const char *bytes, size_t size) {
  size_t room = text->capacity - text->size;
  if (size > room) size = room;
  pulp_copy(text->data + text->size, bytes, size);
  text->size += (uint32_t)size;
}

void pulp_text_string(struct pulp_text *text, const char *string) { append(text, string, pulp_length(string)); }

void pulp_text_number(struct pulp_text *text, uint64_t value, unsigned base) {
  char digits[20];
  size_t first = sizeof digits;
  do {
    digits[--first] = "0123456789abcdef"[value % base];
    value /= base;
  } while (value);
  if (base == 16) append(text, "0x", 2);
  append(text, digits + first, sizeof digits - first);
}

/* Adds a whole line or none: a name that is cut would be another name. Room stays for "+N more". */
void pulp_text_line(struct pulp_text *text, const char *string) {
  size_t size = pulp_length(string);
  text->lines++;
  if (text->omitted || text->size + size + 1 + 20 > text->capacity) {
    text->omitted++;
    return;
  }
  append(text, string, size);
  append(text, "\n", 1);
}

void pulp_text_finish_lines(struct pulp_text *text) {
  if (!text->omitted) return;
  append(text, "+", 1);
  pulp_text_number(text, text->omitted, 10);
  append(text, " more\n", 6);
}
