/* The stand-in for SUSE's libpulp: its messages, the writes that it leaves to the tool, and the opt-out variables. */
#define _GNU_SOURCE
#include "suse_libpulp.h"
#include <fnmatch.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct message_queue EXPORT __ulp_msg_queue;
#if HAS_QUEUE
struct insn_queue EXPORT __ulp_insn_queue = {.version = 1};
#endif

void push(const char *text) {
  struct message_queue *q = &__ulp_msg_queue;
  size_t n = strlen(text) + 1;
  if (n == 1 || n > ring_size) return;
  if (q->top + n >= ring_size) {
    memset(q->ring + q->top, 0, ring_size - q->top);
    q->distance += ring_size - q->top;
    q->top = 0;
  }
  while (q->distance + n >= ring_size) {
    uint32_t start = q->bottom;
    do q->bottom = (q->bottom + 1) % ring_size; while (q->ring[q->bottom]);
    do q->bottom = (q->bottom + 1) % ring_size; while (!q->ring[q->bottom] && q->bottom != q->top);
    q->distance -= (q->bottom + ring_size - start) % ring_size;
  }
  memcpy(q->ring + q->top, text, n);
  q->distance += n;
  q->top = (q->top + n) % ring_size;
}

void warn(const char *format, ...) {
  static char text[8192];
  char stamp[64];
  time_t now = time(NULL);
  strftime(stamp, sizeof stamp, "[%Y-%m-%d %H:%M:%S] ", localtime(&now));
  push(stamp);
  strcpy(text, "ulp: ");
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text + 5, sizeof text - 8, format, arguments);
  va_end(arguments);
  push(strcat(text, "\n"));
}

#if HAS_QUEUE
int write_later(uint64_t address, const void *bytes, uint32_t n) {
  uint32_t size = (16 + n + 7) & ~7u;
  if (__ulp_insn_queue.size + size > queue_size) return __ulp_error_state = EINSNQ;
  uint8_t *at = __ulp_insn_queue.buffer + __ulp_insn_queue.size;
  memset(at, 0, size);
  uint32_t head = 2 | size << 8;
  memcpy(at, &head, 4);
  memcpy(at + 4, &n, 4);
  memcpy(at + 8, &address, 8);
  memcpy(at + 16, bytes, n);
  __ulp_insn_queue.size += size;
  __ulp_insn_queue.count++;
  return 0;
}
#else
/* The protection of the mapping that an address lies in; -1 if there is none. */
static int protection(uint64_t address) {
  FILE *maps = fopen("/proc/self/maps", "r");
  char line[4500];
  int found = -1;
  while (maps && found < 0 && fgets(line, sizeof line, maps)) {
    unsigned long first, last;
    char mode[5];
    if (sscanf(line, "%lx-%lx %4s", &first, &last, mode) == 3 && address >= first && address < last)
      found = (mode[0] == 'r' ? PROT_READ : 0) | (mode[1] == 'w' ? PROT_WRITE : 0) | (mode[2] == 'x' ? PROT_EXEC : 0);
  }
  if (maps) fclose(maps);
  return found;
}

int write_later(uint64_t address, const void *bytes, uint32_t n) {
  uint64_t page = address & ~4095ul, size = ((address + n + 4095) & ~4095ul) - page;
  int first = protection(page), last = protection(page + size - 1);
  if (first < 0 || last < 0 || mprotect((void *)page, size, first | last | PROT_WRITE)) return EUNKNOWN;
  memcpy((void *)address, bytes, n);
  mprotect((void *)page, 4096, first);
  if (size > 4096) mprotect((void *)(page + size - 4096), 4096, last);
  return 0;
}
#endif

int divert(uint64_t entry, uint64_t target) {
  static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
  int offset = memcmp((void *)entry, endbr64, 4) ? 0 : 4;
  const uint8_t *point = (const uint8_t *)entry + offset;
  if (point[0] != 0xeb && !(point[1] == 0x90 && (point[0] == 0x90 || point[0] == 0x66))) return ENOPATCHABLE;
  if (!target) return write_later(entry + offset, "\x66\x90", 2);
  uint8_t bytes[20] = {0xff, 0x25};
  memcpy(bytes + 6, &target, 8);
  if (offset) memcpy(bytes + 14, endbr64, 4);
  bytes[14 + offset] = 0xeb;
  bytes[15 + offset] = 0xf0 - offset;
  if (HAS_ONE_WRITE) return write_later(entry - 14, bytes, 16 + offset);
  int error = write_later(entry - 14, bytes, 14);
  return error ? error : write_later(entry + offset, bytes + 14 + offset, 2);
}

/* Colon-separated numbers or patterns, of which one is meant. */
static int matches(const char *variable, long number, const char *name) {
  char *list = getenv(variable), *rest, *word;
  if (!list || !(list = strdup(list))) return 0;
  int found = 0;
  for (word = strtok_r(list, ":", &rest); word && !found; word = strtok_r(NULL, ":", &rest)) {
    char *end;
    long value = strtol(word, &end, 10);
    found = (number >= 0 && *end == 0 && value == number) || (name && fnmatch(word, name, FNM_EXTMATCH) == 0);
  }
  free(list);
  return found;
}

int is_opted_out(void) {
  char path[4096] = "";
  ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
  if (n > 0 && matches("LIBPULP_DISABLE_ON_PATH", -1, path)) return 1;
  if (getenv("LIBPULP_DISABLE_ON_USERS")) {
    struct passwd *user = getpwuid(getuid());
    if (matches("LIBPULP_DISABLE_ON_USERS", getuid(), user ? user->pw_name : NULL)) return 1;
  }
  if (getenv("LIBPULP_DISABLE_ON_GROUPS")) {
    struct group *group = getgrgid(getgid());
    if (matches("LIBPULP_DISABLE_ON_GROUPS", getgid(), group ? group->gr_name : NULL)) return 1;
  }
  return 0;
}
