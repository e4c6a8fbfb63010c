/* init.c: the constructor. It may run before or after those of other preloaded libraries and after other threads were
 * started: it depends on nothing but the loader's relocations, and nothing of ours is used before it ran (load_state).
 * It maps the call stack, reads the opt-out variables, and never fails the host: what is missing is left 0.
 */
#define _GNU_SOURCE
#include "runtime.h"
#include "plain_calls.h"
#include <sys/mman.h>

#define GUARD_SIZE 4096u

#define ADDRESS(symbol) ((uint64_t)(uintptr_t)(symbol))

/* The stack of remote calls, with a guard page below: a callee that overruns it faults instead of writing elsewhere. */
static void map_call_stack(struct pulp_ext *ext) {
  long size = GUARD_SIZE + PULP_CALL_STACK_SIZE;
  long stack = pulp_syscall(SYS_mmap, 0, size, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (stack < 0 && stack > -4096) return;
  if (pulp_syscall(SYS_mprotect, stack, GUARD_SIZE, PROT_NONE, 0, 0, 0)) {
    pulp_syscall(SYS_munmap, stack, size, 0, 0, 0, 0);
    return;
  }
  ext->call_stack_bottom = (uint64_t)stack + GUARD_SIZE;
  ext->call_stack_top = ext->call_stack_bottom + PULP_CALL_STACK_SIZE;
}

/* Filled here and not by the compiler: 28 addresses would be 28 relocations in a page of the file. */
static void fill_ext(struct pulp_ext *ext) {
  ext->version = PULP_ABI_VERSION;
  ext->size = sizeof *ext;
  ext->pool_count = PULP_POOL_COUNT;
  ext->stub_size = PULP_STUB_SIZE;
  ext->pool_start = ADDRESS(pulp_pool_start);
  ext->pool_end = ADDRESS(pulp_pool_end);
  ext->slots = ADDRESS(pulp_slots);
  ext->universe = ADDRESS(&pulp_universe);
  ext->operation = ADDRESS(&pulp_operation);
  ext->transitions = ADDRESS(pulp_transitions);
  ext->patches = ADDRESS(&pulp_patches);
  ext->mailbox = ADDRESS(&pulp_mailbox);
  ext->call_entry = ADDRESS(pulp_call_entry);
  ext->call_leave = ADDRESS(pulp_call_leave);
  ext->call_abandon = ADDRESS(pulp_call_abandon);
  ext->call_text_start = ADDRESS(pulp_call_text_start);
  ext->call_text_end = ADDRESS(pulp_call_text_end);
  ext->request = ADDRESS(__ulp_metadata_buffer);
  ext->request_size = PULP_METADATA_BUFFER_SIZE;
  ext->stage = ADDRESS(pulp_stage);
  ext->unload = ADDRESS(pulp_unload);
  ext->pin_offset = pulp_pin_offset();
  ext->error_state = ADDRESS(&__ulp_error_state);
  ext->messages = ADDRESS(&__ulp_msg_queue);
  ext->state = ADDRESS(&__ulp_state);
  ext->retire = ADDRESS(pulp_retire);
  ext->memory_files = ADDRESS(pulp_memory_files);
  ext->memory_open = ADDRESS(pulp_memory_open);
  ext->memory_close = ADDRESS(pulp_memory_close);
  ext->queue = ADDRESS(&__ulp_insn_queue);
  PULP_PUBLISH(ext->magic, PULP_EXT_MAGIC);
}

__attribute__((constructor)) static void initialise(void) {
  if (__ulp_state.load_state) return;
  pulp_universe = 1; /* so that a pin of 0 can mean "none" */
  __ulp_insn_queue.version = 1;
  map_call_stack(&__ulp_ext);
  fill_ext(&__ulp_ext);
  pulp_message("libpulp loaded...\n");
  __ulp_error_state = pulp_optout_state();
  PULP_PUBLISH(__ulp_state.load_state, 1);
}
