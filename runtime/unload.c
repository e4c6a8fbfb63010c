/* unload.c: gives a container back after a revert or an abort, or keeps it and nothing else. The tracer has made sure that no thread is in it; what the
 * runtime can see by itself it checks again: that the patch is not in force and that no slot leads into it.
 */
#include "runtime.h"
#include <errno.h>

static bool listed(const struct pulp_patch *patch) {
  const struct pulp_patch *known = pulp_patch_first();
  while (known && known != patch) known = pulp_patch_next(known);
  return known != NULL;
}

static bool selectable(const struct pulp_patch *patch) {
  uint64_t start = patch->container_start, end = patch->container_end;
  for (uint32_t index = 0; index < PULP_POOL_COUNT; index++) {
    const struct pulp_slot *slot = &pulp_slots[index];
    if ((slot->new_target >= start && slot->new_target < end) || (slot->old_target >= start && slot->old_target < end))
      return true;
  }
  return false;
}

static uint64_t check(const struct pulp_patch *patch, struct pulp_text *text) {
  if (!listed(patch) || patch->magic != PULP_PATCH_MAGIC) {
    pulp_text_string(text, "not a patch of this process");
    return PULP_EINVALIDULP;
  }
  if (pulp_patch_in_force(patch, PULP_OBSERVE(pulp_universe)) || selectable(patch)) {
    pulp_text_string(text, "the patch is in force, or a slot still leads into it");
    return PULP_ESTATE;
  }
  return PULP_OK;
}

static uint64_t unload(struct pulp_patch *patch, struct pulp_text *text) {
  uint64_t status = check(patch, text);
  if (status) return status;
  status = pulp_patch_drop(patch);
  if (status) pulp_text_string(text, "the loader keeps the container");
  return status;
}

static uint64_t retire(struct pulp_patch *patch, struct pulp_text *text) {
  uint64_t status = check(patch, text);
  if (!status) pulp_patch_retire(patch);
  return status;
}

static uint64_t with_mailbox(struct pulp_patch *patch, uint64_t (*body)(struct pulp_patch *, struct pulp_text *)) {
  struct pulp_text text = {.data = pulp_mailbox.text, .capacity = PULP_MESSAGE_MAX};
  int saved = errno;
  PULP_PUBLISH(pulp_mailbox.text_size, 0);
  uint64_t status = body(patch, &text);
  PULP_PUBLISH(pulp_mailbox.text_size, text.size);
  errno = saved;
  return status;
}

uint64_t pulp_unload(struct pulp_patch *patch) { return with_mailbox(patch, unload); }
uint64_t pulp_retire(struct pulp_patch *patch) { return with_mailbox(patch, retire); }
