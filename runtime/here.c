/* here.c: the instruction queue, carried out by the process itself for gdb.c, while other threads run. What another thread
 * may execute or read meanwhile changes by one store: the two bytes at an entry, an address, the universe. Where memory is
 * not writable its page is made so, and then as it was.
 */
#define _GNU_SOURCE
#include "runtime.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

PULP_RARE_CODE

enum { WRITE = 2, HEADER = 16 };
#define PAGE_SIZE 4096ull

struct mapping {
  uint64_t start, end;
  int protection;
};

static int hexadecimal(char letter) {
  return letter >= '0' && letter <= '9' ? letter - '0' : letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/* One line of /proc/self/maps, letter by letter: "start-end rwxp ...". True when the mapping is complete. */
static bool take_letter(struct mapping *mapping, uint32_t *field, char letter) {
  uint64_t *number = *field ? &mapping->end : &mapping->start;
  if (letter == '\n') {
    *mapping = (struct mapping){0};
    *field = 0;
  } else if (*field < 2 && hexadecimal(letter) >= 0) {
    *number = *number * 16 + (uint64_t)hexadecimal(letter);
  } else if (*field < 2) {
    ++*field;
  } else if (*field == 2) {
    mapping->protection |= letter == 'r' ? PROT_READ : letter == 'w' ? PROT_WRITE : letter == 'x' ? PROT_EXEC : 0;
    if (letter == ' ') return ++*field == 3;
  }
  return false;
}

static bool find_mapping(uint64_t address, struct mapping *ret) {
  static char chunk[4096];
  uint32_t field = 0;
  ssize_t size = 0;
  bool found = false;
  int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  *ret = (struct mapping){0};
  while (file >= 0 && !found && (size = read(file, chunk, sizeof chunk)) > 0)
    for (ssize_t index = 0; index < size && !found; index++)
      found = take_letter(ret, &field, chunk[index]) && address >= ret->start && address < ret->end;
  if (file >= 0) close(file);
  return found;
}

static void store(uint64_t address, const uint8_t *bytes, uint64_t size) {
  uint64_t head = size % 8, word;
  uint16_t pair;
  if (size == sizeof pair) { /* an entry; the last one of a mapping comes as a word that ends there */
    pulp_copy(&pair, bytes, sizeof pair);
    __atomic_store_n((uint16_t *)(uintptr_t)address, pair, __ATOMIC_RELEASE);
    return;
  }
  for (uint64_t index = 0; index < head; index++)
    __atomic_store_n((uint8_t *)(uintptr_t)(address + index), bytes[index], __ATOMIC_RELEASE);
  for (uint64_t index = head; index < size; index += sizeof word) {
    pulp_copy(&word, bytes + index, sizeof word);
    __atomic_store_n((uint64_t *)(uintptr_t)(address + index), word, __ATOMIC_RELEASE);
  }
}

/* The first page of what is to be written, then the rest. */
static bool write_here(uint64_t address, const uint8_t *bytes, uint64_t size) {
  struct mapping first, last;
  uint64_t page = address & ~(PAGE_SIZE - 1), last_page = (address + size - 1) & ~(PAGE_SIZE - 1);
  if (!find_mapping(address, &first) || !find_mapping(last_page, &last)) return false;
  bool opens_first = !(first.protection & PROT_WRITE), opens_last = last_page != page && !(last.protection & PROT_WRITE);
  if (opens_first && mprotect((void *)(uintptr_t)page, PAGE_SIZE, first.protection | PROT_WRITE)) return false;
  bool is_open = !opens_last || !mprotect((void *)(uintptr_t)last_page, PAGE_SIZE, last.protection | PROT_WRITE);
  if (is_open) store(address, bytes, size);
  if (is_open && opens_last) mprotect((void *)(uintptr_t)last_page, PAGE_SIZE, last.protection);
  if (opens_first) mprotect((void *)(uintptr_t)page, PAGE_SIZE, first.protection);
  return is_open;
}

/* The queue was filled by ourselves: it holds writes alone. Ended in its middle, it is left as SUSE's tool would leave it. */
uint64_t pulp_queue_execute(void) {
  const struct pulp_insn_queue *queue = &__ulp_insn_queue;
  for (uint32_t at = 0; at < queue->size;) {
    uint32_t header, size;
    uint64_t address;
    pulp_copy(&header, queue->buffer + at, sizeof header);
    pulp_copy(&size, queue->buffer + at + 4, sizeof size);
    pulp_copy(&address, queue->buffer + at + 8, sizeof address);
    if ((header & 0xff) != WRITE) return PULP_EINSNQ;
    if (!write_here(address, queue->buffer + at + HEADER, size)) return PULP_MPROTFAIL;
    at += header >> 8;
  }
  pulp_queue_reset();
  return PULP_OK;
}
