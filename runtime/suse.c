/* suse.c: what stands behind SUSE's entry points. Their caller stops all threads, runs the main thread here on its own
 * stack and saves general registers only: so nothing below calls libc or uses a vector register (-mgeneral-regs-only).
 */
#include "runtime.h"

/* Trigger and revert-all are not served: patches of this runtime are driven by ulpsh, which loads while the program
 * runs. EAGAIN is the one refusal that SUSE's tool reports as such and that leaves nothing behind. */
static uint64_t not_served(const char *message) {
  pulp_message(message);
  return PULP_EAGAIN;
}

uint64_t pulp_suse_trigger(void) {
  return not_served("ulp: trigger: this runtime is driven by ulpsh; nothing was changed\n");
}

uint64_t pulp_suse_revert_all(void) {
  return not_served("ulp: revert-all: this runtime is driven by ulpsh; nothing was changed\n");
}

/* 1 when the patch whose id is in the metadata buffer is in force, like SUSE's: never while patching is disabled. */
uint64_t pulp_suse_check_patched(void) {
  if (__ulp_error_state) return 0;
  for (struct pulp_patch *patch = pulp_patch_first(); patch; patch = pulp_patch_next(patch))
    if (pulp_equal(patch->record.id, __ulp_metadata_buffer, sizeof patch->record.id) &&
        pulp_patch_in_force(patch, PULP_OBSERVE(pulp_universe)))
      return 1;
  return 0;
}

uint64_t pulp_suse_get_global_universe(void) { return PULP_OBSERVE(pulp_universe); }

/* Any other state is an error that toggling must not hide. */
uint64_t pulp_suse_enable_or_disable_patching(void) {
  if (__ulp_error_state == 0) __ulp_error_state = PULP_EUSRBLOCKED;
  else if (__ulp_error_state == PULP_EUSRBLOCKED) __ulp_error_state = 0;
  return (uint64_t)(int64_t)__ulp_error_state;
}
