/* What the parts of the stand-in for SUSE's libpulp share: its exported data, and the version it stands in for. */
#ifndef SUSE_LIBPULP_H
#define SUSE_LIBPULP_H
#include <stddef.h>
#include <stdint.h>

/* 317 is 0.3.17, as one number. What a version lacks is not exported either ("libpulp interface", 1.7). */
#ifndef SUSE_VERSION
#define SUSE_VERSION 317
#endif
#define HAS_VERSION (SUSE_VERSION >= 301)
#define HAS_QUEUE (SUSE_VERSION >= 300 && SUSE_VERSION != 306)
#define HAS_ERROR_STATE (SUSE_VERSION >= 209)
#define HAS_ONE_WRITE (SUSE_VERSION >= 310) /* since November 2024 */

#define EXPORT __attribute__((visibility("default")))
enum { EUNKNOWN = 256, EBUILDID = 257, EINVALIDULP = 266, ENONEWFUNC = 268, ENOMETA = 269, ESTATE = 270, ENOTAPPLIED = 272,
  EDEPEND = 273, EAPPLIED = 275, ENOTARGETLIB = 276, ENOPATCHABLE = 278, EUSRBLOCKED = 280, ENOPATCH = 284, EINSNQ = 285,
  EDLOPEN = 287 };
enum { ring_size = 2097152, queue_size = 2097152, metadata_size = 524288 };

struct unit { uint64_t patched, target; uint8_t bytes[14], unused[2]; struct unit *next; };
struct dependency { uint8_t id[32]; char flag; struct dependency *next; };
struct record {
  uint8_t id[32];
  char *lib_name, *container_name;
  struct unit *units;
  struct record *next;
  struct dependency *dependencies;
#if HAS_VERSION
  int64_t time;
#endif
};
struct state { char loaded; struct record *patches; };
struct message_queue { char ring[ring_size]; uint32_t top, bottom, distance; };
struct insn_queue { uint32_t version, count, size, padding; uint8_t buffer[queue_size]; };

extern struct state __ulp_state;
extern int32_t __ulp_error_state;
extern uint8_t __ulp_metadata_buffer[metadata_size];
extern struct message_queue __ulp_msg_queue;
#if HAS_QUEUE
extern struct insn_queue __ulp_insn_queue;
#endif

/* The message ring. `warn` is two messages, a time and a text. */
void push(const char *text);
void warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Text and references are written by the tool, or at once where there is no queue. */
int write_later(uint64_t address, const void *bytes, uint32_t count);
/* Makes an entry lead to `target`, or to itself. */
int divert(uint64_t entry, uint64_t target);

/* 0, EAGAIN while somebody allocates or holds the loader's lock, or the state that a contended lock leads to. */
int locks_held(void);
void find_locks(void);
void find_real_functions(void);

/* Whether the environment asks for no patching. */
int is_opted_out(void);
#endif
