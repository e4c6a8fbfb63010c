/* gdb.c: gdb_ulp_apply and gdb_ulp_revert, for `call` of a debugger that holds the process, where no tool can: both tracers
 * would need the same right. They do what SUSE's tool does from outside: metadata out of the container, the path put in, the
 * trigger, the queue. Threads that are not stopped go on meanwhile.
 */
#define _GNU_SOURCE
#include "runtime.h"
#include "plain_calls.h"
#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

PULP_RARE_CODE

enum { TYPE_AND_ID = 33, NAME_MAX_SIZE = 16 };

static bool read_at(int file, uint64_t offset, void *to, uint64_t size) {
  return offset <= INT64_MAX && pread(file, to, size, (off_t)offset) == (ssize_t)size;
}

static bool find_section(int file, const char *name, ElfW(Shdr) *ret) {
  char found[NAME_MAX_SIZE];
  uint64_t size = pulp_length(name) + 1;
  ElfW(Ehdr) header;
  ElfW(Shdr) names;
  if (!read_at(file, 0, &header, sizeof header) || !pulp_equal(header.e_ident, ELFMAG, SELFMAG)) return false;
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_shentsize != sizeof names || !header.e_shoff) return false;
  if (!read_at(file, header.e_shoff + (uint64_t)header.e_shstrndx * sizeof names, &names, sizeof names)) return false;
  for (uint32_t index = 0; index < header.e_shnum; index++) {
    if (!read_at(file, header.e_shoff + (uint64_t)index * sizeof *ret, ret, sizeof *ret)) return false;
    if (!read_at(file, names.sh_offset + ret->sh_name, found, size)) continue;
    if (pulp_equal(found, name, size)) return true;
  }
  return false;
}

/* The path as it was given; one that is not absolute means the program's working directory. */
static uint32_t write_path(const char *path, char *to) {
  uint64_t size = 0, length = pulp_length(path);
  if (*path != '/') {
    if (pulp_syscall(SYS_getcwd, (long)to, PATH_MAX, 0, 0, 0, 0) <= 0 || *to != '/') return 0;
    size = pulp_length(to);
    to[size++] = '/';
  }
  if (!length || size + length >= PATH_MAX) return 0;
  pulp_copy(to + size, path, length + 1);
  return (uint32_t)(size + length + 1);
}

/* type, id | length of the path with its NUL | path | the rest of the section */
static uint64_t fill_buffer(int file, const char *path, const char *section) {
  static char written[2 * PATH_MAX];
  uint8_t *buffer = __ulp_metadata_buffer;
  ElfW(Shdr) found;
  struct stat info;
  uint32_t length = write_path(path, written);
  if (!length || fstat(file, &info) || !S_ISREG(info.st_mode)) return PULP_ENOMETA;
  if (!find_section(file, section, &found) || found.sh_type == SHT_NOBITS || found.sh_size < TYPE_AND_ID) return PULP_ENOMETA;
  if (found.sh_size > PULP_METADATA_BUFFER_SIZE - sizeof length - length) return PULP_ENOMETA;
  uint64_t rest = found.sh_size - TYPE_AND_ID;
  pulp_zero(buffer, PULP_METADATA_BUFFER_SIZE);
  if (!read_at(file, found.sh_offset, buffer, TYPE_AND_ID)) return PULP_ENOMETA;
  buffer += TYPE_AND_ID;
  pulp_copy(buffer, &length, sizeof length);
  pulp_copy(buffer + sizeof length, written, length);
  return read_at(file, found.sh_offset + TYPE_AND_ID, buffer + sizeof length + length, rest) ? PULP_OK : PULP_ENOMETA;
}

static uint64_t read_container(const char *path, const char *section) {
  int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (file < 0) return PULP_ENOMETA;
  uint64_t status = fill_buffer(file, path, section);
  close(file);
  return status;
}

struct caller {
  const uint64_t *frame;
  uint64_t status;
};

static int check_caller(struct dl_phdr_info *info, size_t size, void *context) {
  struct caller *caller = context;
  (void)info, (void)size;
  caller->status = pulp_world_check_caller(caller->frame);
  return 1;
}

/* One at a time. The same thread comes again when a debugger has given up an earlier call of it; but not from within one. */
static uint32_t holder;

static bool begin(const void *frame) {
  uint64_t here = (uintptr_t)frame;
  uint32_t self = (uint32_t)pulp_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0), nobody = 0;
  if (here >= __ulp_ext.call_stack_bottom && here < __ulp_ext.call_stack_top) return false;
  return __atomic_compare_exchange_n(&holder, &nobody, self, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED) || nobody == self;
}

static int act(const char *container, const char *section, const uint64_t *frame) {
  struct caller caller = {.frame = frame};
  uint64_t all = ~(1ull << 3 | 1ull << 4 | 1ull << 6 | 1ull << 7 | 1ull << 10 | 1ull << 30), mask; /* as entry.S */
  int saved = errno;
  if (!PULP_OBSERVE(__ulp_state.load_state) || !begin(frame)) return PULP_EAGAIN;
  pulp_syscall(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, (long)&all, (long)&mask, sizeof mask, 0, 0);
  dl_iterate_phdr(check_caller, &caller);
  uint64_t status = caller.status ? caller.status : container ? read_container(container, section) : PULP_ENOMETA;
  if (!status) status = pulp_suse_trigger_here();
  pulp_peek_end();
  pulp_syscall(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, (long)&mask, 0, sizeof mask, 0, 0);
  PULP_PUBLISH(holder, 0);
  errno = saved;
  return (int)status;
}

PULP_EXPORT int gdb_ulp_apply(const char *container) {
  return act(container, ".ulp", __builtin_frame_address(0));
}

PULP_EXPORT int gdb_ulp_revert(const char *container) {
  return act(container, ".ulp.rev", __builtin_frame_address(0));
}
