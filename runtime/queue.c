/* queue.c: the instruction queue, by which SUSE's tool writes for us what a process may not write by itself, or must not
 * write before the moment it counts. An operation is a row of writes to armed entries, to the list of patches, and as the
 * last one to the universe: the 8-byte store that brings all of it into force. A tool that dies anywhere in the row has
 * changed nothing that a call reaches.
 */
#include "runtime.h"

PULP_RARE_CODE

enum { WRITE = 2, HEADER = 16, PADDING = 14, FIELD = 8 };
#define PAGE_SIZE 4096ull

static const uint8_t jump_slot[6] = {0xff, 0x25, 0, 0, 0, 0};
static const uint8_t merged_nop[2] = {0x66, 0x90};
static const uint8_t endbr64[4] = {0xf3, 0x0f, 0x1e, 0xfa};

/* A row that was not acknowledged was not finished: what of it happened, the universe tells. */
void pulp_queue_reset(void) {
  __ulp_insn_queue.version = 1;
  __ulp_insn_queue.num_insns = 0;
  __ulp_insn_queue.size = 0;
}

static bool queue_write(uint64_t address, const void *bytes, uint32_t size) {
  struct pulp_insn_queue *queue = &__ulp_insn_queue;
  uint32_t total = (HEADER + size + 7) & ~7u;
  if (queue->size > PULP_INSN_BUFFER_SIZE - total) return false;
  uint8_t *place = queue->buffer + queue->size;
  uint32_t header[2] = {WRITE | total << 8, size};
  pulp_zero(place, total);
  pulp_copy(place, header, sizeof header);
  pulp_copy(place + sizeof header, &address, sizeof address);
  pulp_copy(place + HEADER, bytes, size);
  queue->size += total;
  queue->num_insns++;
  return true;
}

/* What the rows before this one will have written there. */
static void overlay(uint64_t start, uint8_t *bytes, uint32_t size) {
  const struct pulp_insn_queue *queue = &__ulp_insn_queue;
  for (uint32_t at = 0; at < queue->size;) {
    uint32_t header[2];
    uint64_t address;
    pulp_copy(header, queue->buffer + at, sizeof header);
    pulp_copy(&address, queue->buffer + at + sizeof header, sizeof address);
    for (uint32_t index = 0; index < header[1]; index++)
      if (address + index >= start && address + index < start + size)
        bytes[address + index - start] = queue->buffer[at + HEADER + index];
    at += header[0] >> 8;
  }
}

/* SUSE's tool writes words, and reads what it does not change of them: the last function of a mapping may have no word behind
 * its entry. Then a whole word is written that ends there. */
static bool queue_short(uint64_t address, const void *bytes, uint32_t size) {
  uint8_t word[8];
  uint64_t start = address + size - sizeof word;
  if ((address & (PAGE_SIZE - 1)) <= PAGE_SIZE - sizeof word || pulp_peek(address, word, sizeof word) == sizeof word)
    return queue_write(address, bytes, size);
  if (pulp_peek(start, word, sizeof word) != sizeof word) return false;
  overlay(start, word, sizeof word);
  pulp_copy(word + sizeof word - size, bytes, size);
  return queue_write(start, word, sizeof word);
}

static bool queue_word(uint64_t address, uint64_t value) { return queue_write(address, &value, sizeof value); }

static uint64_t stub_of(uint32_t slot) { return (uintptr_t)pulp_pool_start + (uint64_t)slot * PULP_STUB_SIZE; }

/* What an entry is now. False when it cannot be read or is no prepared function. */
bool pulp_entry_read(uint64_t entry, struct pulp_entry_form *form) {
  uint8_t bytes[PADDING + 6];
  pulp_zero(form, sizeof *form);
  if (pulp_peek(entry - PADDING, bytes, sizeof bytes) != sizeof bytes) return false;
  form->point_offset = pulp_equal(bytes + PADDING, endbr64, 4) ? 4 : 0;
  const uint8_t *point = bytes + PADDING + form->point_offset;
  bool has_slot = pulp_equal(bytes, jump_slot, sizeof jump_slot), has_nops = true;
  for (uint32_t index = 0; index < PADDING; index++) has_nops &= bytes[index] == 0x90;
  pulp_copy(&form->target, bytes + PADDING - FIELD, FIELD);
  form->is_armed = has_slot && point[0] == 0xeb && point[1] == (uint8_t)(0xf0 - form->point_offset);
  form->has_two_nops = point[0] == 0x90 && point[1] == 0x90;
  bool is_free = (form->has_two_nops || (point[0] == 0x66 && point[1] == 0x90)) && (has_nops || has_slot);
  return form->is_armed || is_free;
}

/* 90 90 becomes 66 90: without effect, and no thread can come to stand between the two any more. */
void pulp_queue_prepare(const struct pulp_suse_unit *units, uint32_t count) {
  for (uint32_t index = 0; index < count; index++)
    if (units[index].has_two_nops) queue_short(units[index].entry + units[index].point_offset, merged_nop, 1);
}

bool pulp_entry_leads_to(uint64_t entry, uint32_t slot) {
  struct pulp_entry_form form;
  return pulp_entry_read(entry, &form) && form.is_armed && form.target == stub_of(slot);
}

/* An entry that leads through a slot of an earlier operation jumps directly again, or not at all. */
static bool settle(const struct pulp_transition *transition) {
  uint64_t point = transition->entry + transition->point_offset;
  if (!pulp_entry_leads_to(transition->entry, transition->slot)) return true;
  if (transition->new_target == point + 2) return queue_short(point, merged_nop, sizeof merged_nop);
  return queue_word(transition->entry - FIELD, transition->new_target);
}

static bool is_touched(uint64_t entry, uint32_t first) {
  for (uint32_t index = first; index < pulp_operation.transition_count; index++)
    if (pulp_transitions[index].entry == entry) return true;
  return false;
}

/* Paddings of all before the points of any: an entry never leads into a half-written padding. */
static bool arm_paddings(uint32_t first) {
  for (uint32_t index = first; index < pulp_operation.transition_count; index++) {
    const struct pulp_transition *transition = &pulp_transitions[index];
    uint64_t stub = stub_of(transition->slot);
    uint8_t padding[PADDING];
    struct pulp_entry_form form;
    if (!pulp_entry_read(transition->entry, &form)) continue; /* its library is gone */
    pulp_copy(padding, jump_slot, sizeof jump_slot);
    pulp_copy(padding + PADDING - FIELD, &stub, FIELD);
    if (form.is_armed ? !queue_word(transition->entry - FIELD, stub)
                      : !queue_write(transition->entry - PADDING, padding, PADDING))
      return false;
  }
  return true;
}

static bool arm_points(uint32_t first) {
  for (uint32_t index = first; index < pulp_operation.transition_count; index++) {
    const struct pulp_transition *transition = &pulp_transitions[index];
    uint8_t jump[2] = {0xeb, (uint8_t)(0xf0 - transition->point_offset)};
    struct pulp_entry_form form;
    if (!pulp_entry_read(transition->entry, &form) || form.is_armed) continue;
    if (!queue_short(transition->entry + transition->point_offset, jump, sizeof jump)) return false;
  }
  return true;
}

/* SUSE's list holds what is in force, newest first: only the pointers that change are written. */
static bool list_patches(uint64_t universe) {
  uint64_t *place = &__ulp_state.patches;
  for (struct pulp_patch *patch = pulp_patch_first(); patch; patch = pulp_patch_next(patch)) {
    if (!pulp_patch_in_force(patch, universe)) continue;
    if (*place != (uintptr_t)patch && !queue_word((uintptr_t)place, (uintptr_t)patch)) return false;
    place = &patch->record.next;
  }
  return !*place || queue_word((uintptr_t)place, 0);
}

bool pulp_queue_operation(uint32_t first) {
  for (uint32_t index = 0; index < first; index++)
    if (!is_touched(pulp_transitions[index].entry, first) && !settle(&pulp_transitions[index])) return false;
  return arm_paddings(first) && arm_points(first) && list_patches(pulp_operation.universe) &&
         queue_word((uintptr_t)&pulp_universe, pulp_operation.universe);
}
