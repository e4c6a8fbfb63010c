/* memory.c: sealed memory files (memfd_create(2)), for a container that the process could not open by its path. The tool
 * has one made here, fills and seals it from outside through /proc/PID/fd; stage loads from it and closes it. What is
 * open is listed, so that whoever comes after a tool that died finds it. A descriptor that the program has closed, or
 * that means another file by now, is left alone.
 */
#define _GNU_SOURCE
#include "runtime.h"
#include "plain_calls.h"
#include <sys/stat.h>

enum { CLOSE_ON_EXEC = 1, ALLOW_SEALING = 2, NO_EXEC_SEAL = 8 }; /* memfd_create(2) */
enum { NO_FREE_PLACE = -24, WRONG_FLAGS = -22 };                /* EMFILE, EINVAL */

static long identify(long descriptor, struct pulp_memory_file *ret) {
  struct stat info;
  long result = pulp_syscall(SYS_newfstatat, descriptor, (long)"", (long)&info, AT_EMPTY_PATH, 0, 0);
  if (pulp_failed(result)) return result;
  ret->device = info.st_dev;
  ret->inode = info.st_ino;
  return 0;
}

static bool is_still_there(const struct pulp_memory_file *file) {
  struct pulp_memory_file now;
  return PULP_OBSERVE(file->is_open) && !identify(file->descriptor, &now) && now.device == file->device &&
         now.inode == file->inode;
}

/* The kernel asks since 6.3 to be told whether such a file may be executed as a program (vm.memfd_noexec); mapping its
 * code is something else, and always allowed. */
static long create(const char *name) {
  long result = pulp_syscall(SYS_memfd_create, (long)name, CLOSE_ON_EXEC | ALLOW_SEALING | NO_EXEC_SEAL, 0, 0, 0, 0);
  if (result != WRONG_FLAGS) return result;
  return pulp_syscall(SYS_memfd_create, (long)name, CLOSE_ON_EXEC | ALLOW_SEALING, 0, 0, 0, 0);
}

uint64_t pulp_memory_open(const char *name) {
  static uint32_t serial;
  uint32_t index = 0;
  while (index < PULP_MEMORY_FILES && pulp_memory_files[index].is_open) index++;
  if (index == PULP_MEMORY_FILES) return (uint64_t)(int64_t)NO_FREE_PLACE;
  struct pulp_memory_file *file = &pulp_memory_files[index];
  long descriptor = create(name);
  if (pulp_failed(descriptor)) return (uint64_t)descriptor;
  long result = identify(descriptor, file);
  if (result) {
    pulp_syscall(SYS_close, descriptor, 0, 0, 0, 0, 0);
    return (uint64_t)result;
  }
  file->descriptor = (uint32_t)descriptor;
  file->serial = serial++;
  PULP_PUBLISH(file->is_open, 1);
  return index;
}

uint64_t pulp_memory_close(void) {
  uint64_t closed = 0;
  for (uint32_t index = 0; index < PULP_MEMORY_FILES; index++) {
    struct pulp_memory_file *file = &pulp_memory_files[index];
    if (!PULP_OBSERVE(file->is_open)) continue;
    if (is_still_there(file)) {
      pulp_syscall(SYS_close, file->descriptor, 0, 0, 0, 0, 0);
      closed++;
    }
    PULP_PUBLISH(file->is_open, 0);
  }
  return closed;
}

/* The loader takes an object of the same name for the same object, and numbers of descriptors come again: so every file
 * has a spelling of its own. The binary digits of its serial stand before the number as "/" and "./". */
bool pulp_memory_path(uint32_t index, char *ret, uint32_t capacity) {
  struct pulp_text path = {.data = ret, .capacity = capacity - 1};
  const struct pulp_memory_file *file = &pulp_memory_files[index];
  if (index >= PULP_MEMORY_FILES || !is_still_there(file)) return false;
  pulp_text_string(&path, "/proc/self/fd/");
  for (uint32_t rest = file->serial; rest; rest >>= 1) pulp_text_string(&path, rest & 1 ? "./" : "/");
  pulp_text_number(&path, file->descriptor, 10);
  ret[path.size] = 0;
  return true;
}
