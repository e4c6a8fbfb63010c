/* transition.c: from patches in force now and after the commit to one transition per function. Pure memory: one
 * temporary mapping for a hash table, so the work grows with the number of units, not with its square.
 *
 * A slot that is reachable from an armed function never changes; every transition takes a free one (all zero). It selects
 * `old` until the universe reaches `since`, and no code reaches it before the tracer arms the entry.
 */
#define _GNU_SOURCE
#include "runtime.h"
#include <sys/mman.h>

struct row { /* a function that the operation touches */
  uint64_t entry;
  uint64_t old_target, new_target; /* 0: no patch found yet */
  const struct pulp_patch *patch;  /* one that has a unit for it */
  const struct pulp_unit *oldest;  /* knows the bytes before the first patch */
  uint32_t point_offset;
};

struct table {
  uint64_t size; /* of the mapping */
  uint32_t count, mask;
  struct row *rows;
  uint32_t *index; /* row number + 1; 0: empty */
};

static bool touched(const struct pulp_patch *patch, uint64_t universe) {
  return patch->applied_universe == universe || patch->reverted_universe == universe;
}

static bool table_create(struct table *table, uint32_t capacity) {
  uint32_t buckets = 16;
  while (buckets < capacity * 2) buckets *= 2;
  table->size = capacity * sizeof(struct row) + buckets * sizeof(uint32_t);
  table->mask = buckets - 1;
  table->rows = mmap(NULL, table->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  table->index = (void *)(table->rows + capacity);
  return table->rows != MAP_FAILED;
}

/* Where the entry's row number is, or belongs. The table is at most half full, so the search ends. */
static uint32_t *table_find(const struct table *table, uint64_t entry) {
  uint32_t bucket = (uint32_t)((entry * 0x9e3779b97f4a7c15ull) >> 32) & table->mask;
  while (table->index[bucket] && table->rows[table->index[bucket] - 1].entry != entry)
    bucket = (bucket + 1) & table->mask;
  return &table->index[bucket];
}

static void insert_touched(struct table *table, uint64_t universe) {
  for (struct pulp_patch *patch = pulp_patch_first(); patch; patch = pulp_patch_next(patch)) {
    if (!touched(patch, universe)) continue;
    const struct pulp_unit *units = pulp_patch_units(patch);
    for (uint32_t index = 0; index < patch->unit_count; index++) {
      uint32_t *found = table_find(table, units[index].patched_addr);
      if (*found) continue;
      struct row *row = &table->rows[table->count++];
      *found = table->count;
      row->entry = units[index].patched_addr;
      row->point_offset = units[index].point_offset;
      row->patch = patch;
    }
  }
}

/* Newest first: the first patch in force that has the function is the one that calls reach. All must agree about where
 * its point is. */
static uint64_t select_targets(struct table *table, uint64_t universe) {
  for (struct pulp_patch *patch = pulp_patch_first(); patch; patch = pulp_patch_next(patch)) {
    bool before = pulp_patch_in_force(patch, universe - 1), after = pulp_patch_in_force(patch, universe);
    const struct pulp_unit *units = pulp_patch_units(patch);
    for (uint32_t index = 0; index < patch->unit_count; index++) {
      uint32_t found = *table_find(table, units[index].patched_addr);
      if (!found) continue;
      struct row *row = &table->rows[found - 1];
      if (!pulp_patch_same_target(patch, row->patch)) continue;
      if ((before || after) && row->point_offset != units[index].point_offset) return PULP_EINVALIDULP;
      row->oldest = &units[index];
      if (before && !row->old_target) row->old_target = units[index].target_addr;
      if (after && !row->new_target) row->new_target = units[index].target_addr;
    }
  }
  return PULP_OK;
}

/* Entries that are armed or settled do not show the original bytes any more: the first patch remembers them. */
static void inherit_overwritten(const struct table *table) {
  for (uint64_t at = pulp_operation.first_patch; at; at = ((struct pulp_patch *)(uintptr_t)at)->op_next) {
    struct pulp_patch *patch = (void *)(uintptr_t)at;
    struct pulp_unit *units = pulp_patch_units(patch);
    for (uint32_t index = 0; index < patch->unit_count; index++) {
      uint32_t found = *table_find(table, units[index].patched_addr);
      if (!found || !pulp_patch_same_target(patch, table->rows[found - 1].patch)) continue;
      const struct pulp_unit *oldest = table->rows[found - 1].oldest;
      if (oldest && oldest != &units[index])
        pulp_copy(units[index].overwritten, oldest->overwritten, sizeof oldest->overwritten);
    }
  }
}

static bool slot_free(const struct pulp_slot *slot) {
  return !(slot->since | slot->new_target | slot->old_target | slot->entry);
}

static uint64_t fill_slots(const struct table *table, uint64_t universe) {
  uint32_t slot = 0, count = pulp_carried;
  for (uint32_t index = 0; index < table->count; index++) {
    const struct row *row = &table->rows[index];
    uint64_t original = row->entry + row->point_offset + 2;
    uint64_t old_target = row->old_target ? row->old_target : original;
    uint64_t new_target = row->new_target ? row->new_target : original;
    if (old_target == new_target) continue;
    while (slot < PULP_POOL_COUNT && !slot_free(&pulp_slots[slot])) slot++;
    if (slot == PULP_POOL_COUNT || count == PULP_POOL_COUNT) return PULP_EPOOLFULL;
    pulp_transitions[count] = (struct pulp_transition){
      .entry = row->entry, .old_target = old_target, .new_target = new_target,
      .slot = slot, .point_offset = row->point_offset};
    PULP_PUBLISH(pulp_operation.transition_count, ++count); /* so that undoing finds the slot */
    pulp_slots[slot].new_target = new_target;
    pulp_slots[slot].old_target = old_target;
    pulp_slots[slot].entry = row->entry;
    PULP_PUBLISH(pulp_slots[slot].since, universe);
  }
  return PULP_OK;
}

uint64_t pulp_transition_prepare(uint64_t universe) {
  struct table table = {0};
  uint32_t capacity = 0;
  for (struct pulp_patch *patch = pulp_patch_first(); patch; patch = pulp_patch_next(patch))
    if (touched(patch, universe)) capacity += patch->unit_count;
  if (!table_create(&table, capacity)) return PULP_ENOMEM;
  insert_touched(&table, universe);
  uint64_t status = select_targets(&table, universe);
  if (!status) {
    inherit_overwritten(&table);
    status = fill_slots(&table, universe);
  }
  munmap(table.rows, table.size);
  return status;
}

/* Only for what no entry was armed with. */
void pulp_transition_clear(void) {
  uint32_t count = pulp_operation.transition_count;
  for (uint32_t index = pulp_carried; index < count && index < PULP_POOL_COUNT; index++)
    if (pulp_transitions[index].slot < PULP_POOL_COUNT)
      pulp_slots[pulp_transitions[index].slot] = (struct pulp_slot){0};
  PULP_PUBLISH(pulp_operation.transition_count, pulp_carried);
}
