/* runtime.h: what the files of libpulp.so share. Nothing here is seen outside; the contract with ulpsh is pulp_abi.h.
 *
 * House rules for everything in this directory: never end (but see guest.c), block or print from the host; no malloc of our own (mmap
 * only), no stdio, no thread, no signal handler, no interposition; general registers only.
 */
#ifndef PULP_RUNTIME_H
#define PULP_RUNTIME_H

#include <pulp_abi.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PULP_EXPORT __attribute__((visibility("default")))
#define PULP_NEVER UINT64_MAX

/* Begins files whose code runs only when SUSE's tool asks for something, or a container has constructors. It goes behind the pool, away from the page of
 * the constructor: the kernel maps the pages around a fault along with it. (The linker puts sections in the order in which
 * it meets their names.) */
#define PULP_RARE_CODE \
  __asm__(".pushsection .pulp_pool, \"ax\", @progbits\n.popsection"); \
  _Pragma("clang section text=\".pulp_rare\"")

/* data.c: SUSE's exported data */
extern struct pulp_state __ulp_state;
extern int32_t __ulp_error_state;
extern const char __ulp_version[];
extern uint8_t __ulp_metadata_buffer[PULP_METADATA_BUFFER_SIZE];
extern struct pulp_msg_queue __ulp_msg_queue;
extern struct pulp_insn_queue __ulp_insn_queue;
extern struct pulp_ext __ulp_ext;

/* data.c: ours, found through __ulp_ext */
extern uint64_t pulp_universe;
extern uint64_t pulp_patches;
extern struct pulp_operation pulp_operation;
extern struct pulp_mailbox pulp_mailbox;
extern struct pulp_slot pulp_slots[PULP_POOL_COUNT];
extern struct pulp_transition pulp_transitions[PULP_POOL_COUNT];
extern struct pulp_memory_file pulp_memory_files[PULP_MEMORY_FILES];
extern __thread uint64_t pulp_pin __attribute__((tls_model("initial-exec")));

/* arch/: addresses only */
extern const char pulp_pool_start[], pulp_pool_end[];
extern const char pulp_call_entry[], pulp_call_leave[], pulp_call_abandon[];
extern const char pulp_call_text_start[], pulp_call_text_end[];
uint64_t pulp_pin_offset(void);

/* An aligned word that somebody outside may read at any time. */
#define PULP_PUBLISH(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELEASE)
#define PULP_OBSERVE(place) __atomic_load_n(&(place), __ATOMIC_ACQUIRE)

/* text.c: building short texts in a fixed buffer; what does not fit is cut */
struct pulp_text {
  char *data;
  uint32_t size, capacity;
  uint32_t lines, omitted; /* see pulp_text_line */
};
void pulp_copy(void *to, const void *from, size_t size);
void pulp_zero(void *at, size_t size);
bool pulp_equal(const void *a, const void *b, size_t size);
size_t pulp_length(const char *string);
void pulp_text_string(struct pulp_text *text, const char *string);
void pulp_text_number(struct pulp_text *text, uint64_t value, unsigned base);
void pulp_text_line(struct pulp_text *text, const char *string);
void pulp_text_finish_lines(struct pulp_text *text);

/* messages.c */
void pulp_message_push(const char *string, size_t size);
bool pulp_message_is_newest(const char *string, size_t size);
void pulp_message(const char *string);

/* optout.c: 0, or PULP_EUSRBLOCKED when the environment asks to be left alone */
int32_t pulp_optout_state(void);

/* module.c: what the loader knows about a mapped object */
struct pulp_module {
  uint64_t bias, start, end;
  const char *name; /* the loader's; good for as long as the object is there */
  const void *headers; /* ElfW(Phdr) * */
  uint32_t header_count;
  uint32_t build_id_size;
  uint64_t tls_module, tls_size;
  uint8_t build_id[PULP_BUILD_ID_MAX];
};
typedef uint64_t pulp_module_visitor(const struct pulp_module *module, void *context);
bool pulp_module_visit(uint64_t bias, const char *name, pulp_module_visitor *visitor, void *context, uint64_t *ret);
bool pulp_module_find(uint64_t bias, const char *name, struct pulp_module *ret);
bool pulp_module_is(const struct pulp_module *module, const uint8_t *build_id, uint32_t size);
uint64_t pulp_module_room(const struct pulp_module *module, uint64_t address, uint32_t flags);

/* request.c */
bool pulp_request_valid(const struct pulp_request *request, uint32_t capacity);
const struct pulp_request_patch *pulp_request_patches(const struct pulp_request *request);
const uint8_t *pulp_request_dependencies(const struct pulp_request *request, const struct pulp_request_patch *patch,
                                         uint32_t *count);
const char *pulp_request_string(const struct pulp_request *request, uint32_t offset);

/* guest.c: around code of a container */
enum { PULP_GUEST_FAULTS = 6 };
struct pulp_action { /* the kernel's, rt_sigaction(2) */
  uint64_t handler, flags, restorer, mask;
};
struct pulp_guest {
  long process; /* 0: nothing is looked at */
  bool has_stack;
  stack_t stack;
  struct pulp_action actions[PULP_GUEST_FAULTS]; /* handler 0: the default, or unknown */
};
void pulp_guest_enter(struct pulp_guest *guest, bool is_expected);
void pulp_guest_leave(const struct pulp_guest *guest);

/* patch.c */
uint64_t pulp_patch_load(const struct pulp_request *request, const struct pulp_request_patch *from,
                         struct pulp_text *text, struct pulp_patch **ret);
uint64_t pulp_patch_resolve(struct pulp_patch *patch, const struct pulp_request *request,
                            const struct pulp_request_patch *from, struct pulp_text *text);
bool pulp_patch_in_force(const struct pulp_patch *patch, uint64_t universe);
bool pulp_patch_same_target(const struct pulp_patch *a, const struct pulp_patch *b);
struct pulp_unit *pulp_patch_units(const struct pulp_patch *patch);
struct pulp_patch *pulp_patch_first(void);
struct pulp_patch *pulp_patch_next(const struct pulp_patch *patch);
void pulp_patch_link(struct pulp_patch *patch);
uint64_t pulp_patch_drop(struct pulp_patch *patch);
void pulp_patch_retire(struct pulp_patch *patch);

/* reference.c */
uint64_t pulp_reference_write_all(struct pulp_patch *patch, const struct pulp_request *request,
                                  const struct pulp_request_patch *from, struct pulp_text *text);

/* transition.c */
uint64_t pulp_transition_prepare(uint64_t universe);
void pulp_transition_clear(void);

/* stage.c, unload.c: called through the remote call */
uint64_t pulp_stage(void);
uint64_t pulp_stage_request(const struct pulp_request *request, struct pulp_text *text);
void pulp_stage_undo(void);
uint64_t pulp_unload(struct pulp_patch *patch);
uint64_t pulp_retire(struct pulp_patch *patch);

/* memory.c: memory files; the path by which the loader opens one, false when it is not there */
uint64_t pulp_memory_open(const char *name);
uint64_t pulp_memory_close(void);
bool pulp_memory_path(uint32_t index, char *ret, uint32_t capacity);

/* loader.c: the loader's list, without the loader */
struct pulp_object {
  const void *map; /* struct link_map * */
  uint64_t bias;
  const char *name, *soname;
  const void *symbols; /* ElfW(Sym) * */
  const char *strings;
  const uint32_t *hash, *gnu_hash;
  uint32_t index;
  bool is_program;
};
struct pulp_range {
  uint64_t start, end;
};
struct pulp_function {
  uint64_t start, end;
  bool is_indirect; /* IFUNC: `start` is its resolver */
};
bool pulp_object_first(struct pulp_object *object);
bool pulp_object_next(struct pulp_object *object);
bool pulp_object_function(const struct pulp_object *object, const char *name, struct pulp_function *ret);
void pulp_object_widen(const struct pulp_object *object, struct pulp_range *range);
uint32_t pulp_object_text(uint64_t bias, struct pulp_range *ranges, uint32_t capacity);
uint64_t pulp_loader_base(void);
const char *pulp_base_name(const char *path);
bool pulp_same_string(const char *a, const char *b);

/* wire.c: SUSE's metadata as it was sent */
struct pulp_wire_reader {
  const uint8_t *at, *end;
};
struct pulp_wire_string {
  const char *data;
  uint32_t size;
};
struct pulp_wire_unit {
  struct pulp_wire_string old_name, new_name;
  uint64_t address;
};
struct pulp_wire_reference {
  struct pulp_wire_string target_name, name;
  uint64_t target_offset, patch_offset;
  uint8_t tls;
};
struct pulp_wire {
  uint8_t type;
  bool is_revert;
  const uint8_t *id, *build_id, *dependencies;
  uint32_t build_id_size, unit_count, dependency_count, reference_count;
  struct pulp_wire_string path, target;
  struct pulp_wire_reader units, references;
  uint64_t text_size; /* of all strings with their NULs */
};
uint64_t pulp_wire_parse(const uint8_t *bytes, uint32_t size, struct pulp_wire *wire);
bool pulp_wire_unit(struct pulp_wire_reader *reader, struct pulp_wire_unit *ret);
bool pulp_wire_reference(struct pulp_wire_reader *reader, struct pulp_wire_reference *ret);

/* suse_request.c: from metadata to a request as ulpsh writes it */
struct pulp_suse_unit {
  uint64_t entry;
  uint32_t point_offset;
  bool has_two_nops;
};
struct pulp_suse_request {
  uint64_t size; /* of the mapping that holds both */
  struct pulp_suse_unit *units;
  struct pulp_request *request;
};
uint64_t pulp_suse_apply_request(const struct pulp_wire *wire, struct pulp_suse_request *ret, struct pulp_text *text);
uint64_t pulp_suse_revert_request(uint32_t count, struct pulp_suse_request *ret);
void pulp_suse_request_free(struct pulp_suse_request *request);
bool pulp_suse_library_loaded(const char *name);

/* queue.c: filled for SUSE's tool */
struct pulp_entry_form {
  uint32_t point_offset;
  bool is_armed, has_two_nops;
  uint64_t target; /* where an armed entry leads */
};
bool pulp_entry_read(uint64_t entry, struct pulp_entry_form *form);
bool pulp_entry_leads_to(uint64_t entry, uint32_t slot);
void pulp_queue_reset(void);
void pulp_queue_prepare(const struct pulp_suse_unit *units, uint32_t count);
bool pulp_queue_operation(uint32_t first);

/* here.c: the queue, carried out by ourselves */
uint64_t pulp_queue_execute(void);

/* adopt.c: transitions of an earlier operation whose slots are still in use; the first in the array */
extern uint32_t pulp_carried;
void pulp_adopt(void);
void pulp_adopt_rest(void);
void pulp_write_off_lost(void);

/* unwind.c: registers by their DWARF numbers (psABI 3.6.2), 16 is the return address */
enum { PULP_UNWIND_REGISTERS = 17 };
enum pulp_unwind_step {
  PULP_UNWIND_STEPPED,
  PULP_UNWIND_ROOT,
  PULP_UNWIND_ZERO, /* a return address of 0: the end as well, if the stack pointer is the right one */
  PULP_UNWIND_UNKNOWN,
};
struct pulp_unwind_state {
  uint64_t registers[PULP_UNWIND_REGISTERS];
  uint32_t known; /* a bit for each register whose value is known */
  bool is_interrupted; /* by a signal: the address is that of the next instruction */
};
/* Inside the frame's function: of a caller the byte before its return address. */
static inline uint64_t pulp_unwind_place(const struct pulp_unwind_state *state) {
  return state->registers[PULP_UNWIND_REGISTERS - 1] - !state->is_interrupted;
}
void pulp_unwind_prepare(void);
enum pulp_unwind_step pulp_unwind_step(struct pulp_unwind_state *state, uint64_t pc);

/* peek.c: how many of `size` bytes at `address` could be read */
uint64_t pulp_peek(uint64_t address, void *to, uint64_t size);
void pulp_peek_end(void);

/* world.c: may the loader be used now? */
struct pulp_suse_call; /* arch/ */
uint64_t pulp_world_check(const struct pulp_suse_call *call, const struct pulp_suse_unit *units, uint32_t unit_count);

uint64_t pulp_world_check_caller(const uint64_t *frame);
uint64_t pulp_world_pass(const struct pulp_suse_unit *units, uint32_t unit_count);

/* saved.c: what SUSE's tool has saved of the thread that it diverted */
enum { PULP_SAVED_MAX = 16 };
struct pulp_saved_place {
  uint64_t pc, sp;
};
struct pulp_saved {
  uint32_t count;
  struct pulp_saved_place places[PULP_SAVED_MAX];
};
void pulp_saved_find(const struct pulp_suse_call *call, uint64_t lowest, struct pulp_saved *ret);

/* suse.c: behind the entry points of arch/, and behind gdb.c */
uint64_t pulp_suse_trigger_here(void);
uint64_t pulp_suse_trigger(const struct pulp_suse_call *call);
uint64_t pulp_suse_revert_all(const struct pulp_suse_call *call);
uint64_t pulp_suse_check_patched(const struct pulp_suse_call *call);
uint64_t pulp_suse_get_global_universe(const struct pulp_suse_call *call);
uint64_t pulp_suse_enable_or_disable_patching(const struct pulp_suse_call *call);

#ifdef __x86_64__
#include "arch/x86_64/suse_call.h"
#endif

#endif
