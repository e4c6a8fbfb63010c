/* saved.c: where the thread that SUSE's tool has diverted was. Nobody tells; but the tool has its registers in its memory, as
 * the kernel gave them (user_regs_struct, sys/user.h), to put them back. The kernel says who it is, and lets its memory be
 * read or not: not across users, and not where Yama or another module forbids it. Then the place stays unknown.
 *
 * What was diverted by writing rip and rsp alone has all other registers still: fifteen that agree, and a stack pointer that
 * leads to ours, are not found elsewhere. What the tool kept of an earlier time may agree as well; the true ones are always
 * among them, so the caller judges all. No libc, no allocation.
 */
#define _GNU_SOURCE
#include "runtime.h"
#include "plain_calls.h"

PULP_RARE_CODE

enum { CHUNK = 65536, ALIGNMENT = 64, RIP = 16, RSP = 19, WORDS = 20, LINE_MAX = 256 };
/* SUSE's tool has some megabytes: a debugger that holds much more is not searched while the program stands. */
#define SEARCH_MAX (64ull << 20)

static struct {
  uint64_t words[CHUNK / 8];
  char text[4096];
  long memory;
  uint64_t searched;
} saved;

static long open_of(uint64_t process, const char *name) {
  char path[64];
  struct pulp_text text = {.data = path, .capacity = sizeof path - 1};
  pulp_text_string(&text, "/proc/");
  pulp_text_number(&text, process, 10);
  pulp_text_string(&text, name);
  path[text.size] = 0;
  return pulp_open(path, O_RDONLY);
}

/* 0: nobody, or somebody whom this pid namespace does not show. */
static uint64_t find_tracer(uint64_t self) {
  static const char key[] = "\nTracerPid:\t";
  uint64_t tracer = 0;
  long file = open_of(self, "/status");
  if (pulp_failed(file)) return 0;
  long size = pulp_syscall(SYS_read, file, (long)saved.text, sizeof saved.text, 0, 0, 0);
  pulp_close(file);
  for (long at = 0; at + (long)sizeof key < size; at++) {
    if (!pulp_equal(saved.text + at, key, sizeof key - 1)) continue;
    for (at += sizeof key - 1; at < size && saved.text[at] >= '0' && saved.text[at] <= '9'; at++)
      tracer = tracer * 10 + (uint64_t)(saved.text[at] - '0');
    break;
  }
  return tracer;
}

/* Are these, at `words`, the registers of the thread? */
static bool are_its(const uint64_t *words, const struct pulp_suse_call *call, uint64_t lowest) {
  if (words[RSP] - lowest >= ALIGNMENT) return false;
  for (uint32_t index = 0; index < PULP_SUSE_REGISTERS; index++)
    if (words[index] != *(const uint64_t *)(uintptr_t)(call->rsp - 8 * (index + 1))) return false;
  return true;
}

static bool add(const uint64_t *words, struct pulp_saved *ret) {
  for (uint32_t index = 0; index < ret->count; index++)
    if (ret->places[index].pc == words[RIP] && ret->places[index].sp == words[RSP]) return true;
  if (ret->count == PULP_SAVED_MAX) return false;
  ret->places[ret->count++] = (struct pulp_saved_place){.pc = words[RIP], .sp = words[RSP]};
  return true;
}

/* Pages that are not there end a mapping: so does one that the tool gives back meanwhile. */
static bool search(uint64_t start, uint64_t end, const struct pulp_suse_call *call, uint64_t lowest, struct pulp_saved *ret) {
  saved.searched += end - start;
  if (saved.searched > SEARCH_MAX) return false;
  while (end - start >= WORDS * 8) {
    uint64_t wanted = end - start < sizeof saved.words ? end - start : sizeof saved.words;
    long got = pulp_syscall(SYS_pread64, saved.memory, (long)saved.words, (long)wanted, (long)start, 0, 0);
    if (pulp_failed(got) || got < WORDS * 8) return true;
    for (uint64_t at = 0; at + WORDS <= (uint64_t)got / 8; at++)
      if (are_its(saved.words + at, call, lowest) && !add(saved.words + at, ret)) return false;
    start += (uint64_t)got - (WORDS - 1) * 8;
  }
  return true;
}

static uint64_t take_hexadecimal(const char *line, long *at) {
  uint64_t value = 0;
  for (;; ++*at) {
    char digit = line[*at];
    if (digit >= '0' && digit <= '9') value = value * 16 + (uint64_t)(digit - '0');
    else if (digit >= 'a' && digit <= 'f') value = value * 16 + (uint64_t)(digit - 'a' + 10);
    else return value;
  }
}

/* "start-end rw-p ...": registers lie in memory that is written, and no other process's. */
static bool search_line(const char *line, const struct pulp_suse_call *call, uint64_t lowest, struct pulp_saved *ret) {
  long at = 0;
  uint64_t start = take_hexadecimal(line, &at);
  if (line[at++] != '-') return true;
  uint64_t end = take_hexadecimal(line, &at);
  if (start >= end || !pulp_equal(line + at, " rw", 3) || line[at + 4] != 'p') return true;
  return search(start, end, call, lowest, ret);
}

static bool search_mappings(long maps, const struct pulp_suse_call *call, uint64_t lowest, struct pulp_saved *ret) {
  char line[LINE_MAX];
  uint32_t used = 0;
  long size;
  while ((size = pulp_syscall(SYS_read, maps, (long)saved.text, sizeof saved.text, 0, 0, 0)) > 0)
    for (long at = 0; at < size; at++) {
      if (saved.text[at] != '\n') {
        if (used < sizeof line - 1) line[used++] = saved.text[at];
        continue;
      }
      line[used] = 0;
      used = 0;
      if (!search_line(line, call, lowest, ret)) return false;
    }
  return size == 0;
}

/* Where the diverted thread may have been, its stack pointer at `lowest` or less than 64 above; count 0: not known. */
void pulp_saved_find(const struct pulp_suse_call *call, uint64_t lowest, struct pulp_saved *ret) {
  uint64_t tracer = find_tracer((uint64_t)pulp_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0));
  ret->count = 0;
  saved.searched = 0;
  if (!tracer || pulp_failed(saved.memory = open_of(tracer, "/mem"))) return;
  long maps = open_of(tracer, "/maps");
  if (pulp_failed(maps) || !search_mappings(maps, call, lowest, ret)) ret->count = 0;
  if (!pulp_failed(maps)) pulp_close(maps);
  pulp_close(saved.memory);
}
