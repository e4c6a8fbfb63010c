/* adopt.c: finds an operation that is not idle and makes peace with it, from inside, while SUSE's tool holds all threads:
 * one that SUSE's tool carried out (nobody has written the direct jumps yet), one whose tool died, or one of an ulpsh that
 * died. The universe decides whether it is in force. All stores here repeat what is true already, or concern what no call
 * can reach, so dying in the middle and doing it again is harmless.
 *
 * Entries that still lead through a slot keep it. Their transitions are carried over: they stay the first in the array,
 * with one target, so that the next operation's journal names every slot in use.
 */
#include "runtime.h"

PULP_RARE_CODE

uint32_t pulp_carried;

/* SUSE's list from the journal: what is in force now, newest first. */
static void list_in_force(void) {
  uint64_t *place = &__ulp_state.patches;
  for (struct pulp_patch *patch = pulp_patch_first(); patch; patch = pulp_patch_next(patch)) {
    if (!pulp_patch_in_force(patch, pulp_universe)) continue;
    if (*place != (uintptr_t)patch) PULP_PUBLISH(*place, (uintptr_t)patch);
    place = &patch->record.next;
  }
  if (*place) PULP_PUBLISH(*place, 0);
}

static void carry_transitions(bool is_committed) {
  uint32_t count = pulp_operation.transition_count, kept = 0;
  for (uint32_t index = 0; index < count && index < PULP_POOL_COUNT; index++) {
    struct pulp_transition transition = pulp_transitions[index];
    if (transition.slot >= PULP_POOL_COUNT) continue;
    struct pulp_slot *slot = &pulp_slots[transition.slot];
    if (!pulp_entry_leads_to(transition.entry, transition.slot)) {
      *slot = (struct pulp_slot){0};
      continue;
    }
    /* The next operation leads to the same universe: the slot must not take that for its own. */
    if (!is_committed && slot->since > pulp_universe) PULP_PUBLISH(slot->since, PULP_NEVER);
    transition.old_target = transition.new_target = is_committed ? transition.new_target : transition.old_target;
    pulp_transitions[kept++] = transition;
  }
  PULP_PUBLISH(pulp_operation.transition_count, kept);
}

/* Marks first: one that stayed would come into force with the next operation's universe. */
static void withdraw(uint64_t universe, bool is_loaded) {
  for (struct pulp_patch *patch = pulp_patch_first(); patch; patch = pulp_patch_next(patch)) {
    if (patch->reverted_universe == universe) PULP_PUBLISH(patch->reverted_universe, 0);
    if (patch->applied_universe == universe) PULP_PUBLISH(patch->applied_universe, PULP_NEVER);
  }
  list_in_force();
  while (is_loaded && pulp_operation.first_patch) {
    struct pulp_patch *patch = (void *)(uintptr_t)pulp_operation.first_patch;
    PULP_PUBLISH(pulp_operation.first_patch, patch->op_next);
    patch->op_next = 0;
    pulp_patch_drop(patch);
  }
}

/* What was reverted stays mapped; of a container that was applied many times one block is enough. */
static void retire(void) {
  struct pulp_patch *patch = pulp_patch_first();
  while (patch) {
    struct pulp_patch *next = pulp_patch_next(patch);
    bool is_over = patch->reverted_universe && patch->reverted_universe <= pulp_universe;
    if (is_over && patch->handle) pulp_patch_retire(patch);
    patch = next;
  }
}

/* Of its functions none is diverted any more, or another build of its library has taken the place: the program has unloaded
 * the library, or has loaded it again with its original code. */
static bool is_lost(const struct pulp_patch *patch) {
  struct pulp_entry_form form;
  if (!patch->unit_count) return false;
  for (struct pulp_patch *other = pulp_patch_first(); other; other = pulp_patch_next(other))
    if (pulp_patch_in_force(other, pulp_universe) && other->applied_universe > patch->applied_universe &&
        other->target_bias == patch->target_bias && !pulp_patch_same_target(other, patch))
      return true;
  for (uint32_t index = 0; index < patch->unit_count; index++)
    if (pulp_entry_read(pulp_patch_units(patch)[index].patched_addr, &form) && form.is_armed) return false;
  return true;
}

/* Takes lost patches out of the account, as ulpsh does, or the next operation would take them for what calls reach now. */
void pulp_write_off_lost(void) {
  bool found = false;
  for (struct pulp_patch *patch = pulp_patch_first(); patch; patch = pulp_patch_next(patch)) {
    if (!pulp_patch_in_force(patch, pulp_universe) || !is_lost(patch)) continue;
    patch->flags |= PULP_PATCH_LOST;
    PULP_PUBLISH(patch->reverted_universe, pulp_universe);
    found = true;
  }
  if (found) list_in_force();
}

/* Whatever the journal says afterwards is in force: the next operation, or the next session of ulpsh, begins from there. */
void pulp_adopt_rest(void) {
  PULP_PUBLISH(pulp_operation.first_patch, 0);
  pulp_operation.universe = pulp_universe;
  pulp_carried = pulp_operation.transition_count;
  PULP_PUBLISH(pulp_operation.state, pulp_carried ? PULP_OP_ARMING : PULP_OP_IDLE);
}

void pulp_adopt(void) {
  struct pulp_operation *operation = &pulp_operation;
  uint32_t state = PULP_OBSERVE(operation->state);
  pulp_carried = 0;
  if (state == PULP_OP_IDLE) return;
  bool is_committed = operation->universe == pulp_universe;
  carry_transitions(is_committed);
  pulp_peek_end(); /* destructors may not return */
  /* Half loaded by a thread that will not go on: what the loader has of it is left alone. */
  if (is_committed) list_in_force(), retire();
  else withdraw(operation->universe, state != PULP_OP_STAGING);
  pulp_adopt_rest();
}
