/* suse_ulp.h: what the parts of the stand-in for SUSE's tool share. */
#ifndef SUSE_ULP_H
#define SUSE_ULP_H
#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/user.h>
#include <unistd.h>

enum { METADATA_SIZE = 524288, RING_SIZE = 2097152, QUEUE_SIZE = 2097152, OBJECT_MAX = 512, THREAD_MAX = 4096 };
enum { EUNKNOWN = 256, EBUILDID = 257, ETARGETHOOK = 258, ENOLINKMAP = 260, ENOPHDR = 261, ENOLIBPULP = 263,
  ETHRDATTACH = 264, ENOMETA = 269, ENOTARGETLIB = 276, EHOOKNOTRUN = 277, EINSNQ = 285, EOLDULP = 286 };

struct options {
  int attempts, timeout_ms, count, die_at, abandon_at;
  bool revert, unchecked, raw, show;
  const char *revert_all, *prefix;
  uint64_t between;
};
extern struct options options;
extern bool is_finished; /* the last run came to its int3; that tool does not ask */

struct object {
  char name[1024];
  uint64_t bias;
  uint8_t build_id[20];
  bool has_build_id;
};

struct target {
  pid_t pid;
  struct object objects[OBJECT_MAX];
  int object_count;
  uint64_t trigger, revert_all, check_patched, universe, toggle; /* entries */
  uint64_t state, metadata_buffer, error_state, message_queue, insn_queue, version;
  unsigned version_number;
  int symbol_count; /* names that begin with __ulp */
  pid_t threads[THREAD_MAX];
  struct user_regs_struct registers[THREAD_MAX];
  int thread_count;
};

/* Metadata in the wire form, the container's path inserted. */
struct metadata {
  uint8_t bytes[METADATA_SIZE];
  uint32_t size;
};

const char *error_name(unsigned number);

/* suse_ulp_discover.c */
bool remote_read(struct target *target, uint64_t address, void *to, size_t size);
bool remote_write(struct target *target, uint64_t address, const void *from, size_t size);
uint64_t read_word(struct target *target, uint64_t address, unsigned size);
bool read_string(struct target *target, uint64_t address, char *to, size_t size);
unsigned discover(struct target *target);
unsigned print_messages(struct target *target);
unsigned print_patches(struct target *target);
unsigned print_symbols(struct target *target);

/* suse_ulp_container.c */
unsigned read_metadata(const char *container, bool revert, struct metadata *ret);
unsigned check_before(struct target *target, const char *container, const struct metadata *metadata);
const char *base_name(const char *path);

/* suse_ulp_run.c */
unsigned stop_all(struct target *target);
void release_all(struct target *target);
unsigned run(struct target *target, uint64_t entry, uint64_t *rax);
unsigned run_trigger(struct target *target, const struct metadata *metadata);
unsigned run_revert_all(struct target *target, const char *library);
#endif
