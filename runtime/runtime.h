/* runtime.h: what the files of libpulp.so share. Nothing here is seen outside; the contract with ulpsh is pulp_abi.h.
 *
 * House rules for everything in this directory: never end, block or print from the host; no malloc of our own (mmap
 * only), no stdio, no thread, no signal handler, no interposition; general registers only, because SUSE's tool calls
 * the entry points without saving vector state.
 */
#ifndef PULP_RUNTIME_H
#define PULP_RUNTIME_H

#include <pulp_abi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PULP_EXPORT __attribute__((visibility("default")))
#define PULP_NEVER UINT64_MAX

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
const char *pulp_request_string(const struct pulp_request *request, uint32_t offset);

/* patch.c */
uint64_t pulp_patch_load(const struct pulp_request *request, const struct pulp_request_patch *from,
                         struct pulp_text *text, struct pulp_patch **ret);
uint64_t pulp_patch_resolve(struct pulp_patch *patch, const struct pulp_request *request,
                            const struct pulp_request_patch *from, struct pulp_text *text);
bool pulp_patch_in_force(const struct pulp_patch *patch, uint64_t universe);
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
uint64_t pulp_unload(struct pulp_patch *patch);
uint64_t pulp_retire(struct pulp_patch *patch);

/* suse.c: behind the entry points of arch/ */
uint64_t pulp_suse_trigger(void);
uint64_t pulp_suse_revert_all(void);
uint64_t pulp_suse_check_patched(void);
uint64_t pulp_suse_get_global_universe(void);
uint64_t pulp_suse_enable_or_disable_patching(void);

#endif
