/* data.c: everything the runtime keeps. All of it is .bss, so that the file stays small and an unpatched process pays
 * only for the few pages the constructor writes. The small things stand between the two big queues on purpose: the end
 * of one, all of our state and the head of the other share their pages.
 */
#include "runtime.h"

PULP_EXPORT const char __ulp_version[] = PULP_LIBPULP_VERSION;

PULP_EXPORT struct pulp_msg_queue __ulp_msg_queue __attribute__((aligned(8)));
PULP_EXPORT struct pulp_state __ulp_state __attribute__((aligned(64)));
PULP_EXPORT int32_t __ulp_error_state;
PULP_EXPORT struct pulp_ext __ulp_ext __attribute__((aligned(64)));
uint64_t pulp_universe __attribute__((aligned(64)));
uint64_t pulp_patches;
struct pulp_operation pulp_operation;
PULP_EXPORT struct pulp_insn_queue __ulp_insn_queue __attribute__((aligned(16)));

PULP_EXPORT uint8_t __ulp_metadata_buffer[PULP_METADATA_BUFFER_SIZE] __attribute__((aligned(64)));
struct pulp_mailbox pulp_mailbox __attribute__((aligned(64)));
struct pulp_slot pulp_slots[PULP_POOL_COUNT] __attribute__((aligned(64)));
struct pulp_memory_file pulp_memory_files[PULP_MEMORY_FILES];
struct pulp_transition pulp_transitions[PULP_POOL_COUNT] __attribute__((aligned(64)));

/* A thread's own universe; 0: it follows the global one. Initial-exec, so that a stub reads it without a call. */
__thread uint64_t pulp_pin __attribute__((tls_model("initial-exec")));
