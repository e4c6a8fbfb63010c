/* unload_test.c: what comes of a patch later: it is reverted, unloaded, retired, pinned or written off. */
#include "stage.h"

/* A stage that fails after it marked a revert: the patch stays in force. */
static void test_failed_revert(void) {
  request_begin(1, 0);
  add_functions(0, "kept", 0, 0, 2);
  is(stage(), PULP_OK, "apply");
  commit();
  request_begin(0, 2);
  request_revert(0, "kept");
  request_revert(1, "unknown");
  is(stage(), PULP_ENOTAPPLIED, "one of two reverts is not in force");
  ok(!find_patch("kept")->reverted_universe && operation->state == PULP_OP_IDLE && !used_slots(), "the other is not marked");
  request_begin(0, 2);
  request_revert(0, "kept");
  request_revert(1, "kept");
  is(stage(), PULP_ENOTAPPLIED, "the same revert twice");
  request_begin(0, 1);
  request_revert(0, "kept");
  is(stage(), PULP_OK, "alone it works");
  commit();
  is(unload((uintptr_t)find_patch("kept")), PULP_OK, "unload");
  ok(nothing_left(0), "nothing is left");
}

static void test_unload(void) {
  request_begin(1, 0);
  add_functions(0, "u", 0, 0, 2);
  void *held = dlopen(container(0), RTLD_NOW);
  constructor_runs = 0;
  is(stage(), PULP_OK, "a container that is loaded already");
  struct pulp_patch *patch = first_patch();
  ok((patch->flags & PULP_PATCH_WAS_LOADED) && !constructor_runs, "is reported as was_loaded, constructors do not run again");
  commit();
  is(unload((uintptr_t)patch), PULP_ESTATE, "unload is refused while in force");
  is(unload(0x1234), PULP_EINVALIDULP, "unload of a wild pointer");
  struct pulp_state *state = AT(ext->state);
  state->patches = (uintptr_t)patch;
  request_begin(0, 1);
  request_revert(0, "u");
  is(stage(), PULP_OK, "revert");
  ok(operation->transition_count == 2 && transitions[0].new_target == transitions[0].entry + 2, "leads back");
  commit();
  is(unload((uintptr_t)patch), PULP_STILL_LOADED, "unload while somebody holds the container");
  ok(count_patches() == 1 && !patch->handle && state->patches == (uintptr_t)patch, "its block is kept");
  is(unload((uintptr_t)patch), PULP_STILL_LOADED, "again");
  dlclose(held);
  is(unload((uintptr_t)patch), PULP_OK, "given back when the last reference is gone");
  ok(!count_patches() && !state->patches, "and is unlinked everywhere");
  char path[4200];
  snprintf(path, sizeof path, "%s/sticky.so", directory);
  request_begin(1, 0);
  struct pulp_request_patch *from = request_patch(0, "s", &target, path, 1, 0);
  request_unit(from, 0, entry_of(0), 0, "not_there");
  is(stage(), PULP_ENONEWFUNC, "a failing stage of a container that cannot be unloaded");
  ok(count_patches() == 1 && first_patch()->applied_universe == UINT64_MAX && !first_patch()->handle && !used_slots() &&
     operation->state == PULP_OP_IDLE, "keeps the block as retired, applied never");
  *(uint64_t *)AT(ext->patches) = 0;
}

/* A patch whose library was loaded anew is written off by the tool: what comes next does not take it for what calls reach. */
static void test_written_off(void) {
  request_begin(1, 0);
  add_functions(0, "lost", 0, 0, 2);
  is(stage(), PULP_OK, "apply");
  commit();
  struct pulp_patch *lost = find_patch("lost");
  request_begin(1, 0);
  add_functions(0, "next", 1, 0, 1);
  is(stage(), PULP_OK, "on top of it");
  is(transitions[0].old_target, ((struct pulp_unit *)AT(lost->record.units))->target_addr, "calls reach it so far");
  ok(abort_operation(), "abort");
  lost->flags |= PULP_PATCH_LOST;
  lost->reverted_universe = *universe;
  request_begin(1, 0);
  add_functions(0, "next", 1, 0, 1);
  is(stage(), PULP_OK, "apply after it was written off");
  is(transitions[0].old_target, entry_of(0) + 2, "calls reach the original so far");
  commit();
  request_begin(0, 1);
  request_revert(0, "lost");
  is(stage(), PULP_ENOTAPPLIED, "it cannot be reverted any more");
  request_begin(0, 1);
  request_revert(0, "next");
  is(stage(), PULP_OK, "the next one can");
  is(transitions[0].new_target, entry_of(0) + 2, "and leads to the original");
  commit();
  is(unload((uintptr_t)lost), PULP_OK, "unload of the lost one");
  is(unload((uintptr_t)find_patch("next")), PULP_OK, "and of the next one");
  ok(nothing_left(0), "nothing is left");
}

/* Applies and reverts one function of container 0, with the given flags; returns the block. */
static struct pulp_patch *apply_and_revert(const char *id, uint64_t flags) {
  request_begin(1, 0);
  add_functions(0, id, 0, 0, 1)->flags = flags;
  if (stage() != PULP_OK) return NULL;
  struct pulp_patch *patch = first_patch();
  commit();
  request_begin(0, 1);
  request_revert(0, id);
  if (stage() != PULP_OK) return NULL;
  commit();
  return patch;
}

/* A container that is to be kept is never unmapped by retiring it, and one block is enough to remember it. */
static void test_retire(void) {
  uint64_t keep = PULP_PATCH_KEEP | 3 << 8;
  struct pulp_patch *first = apply_and_revert("r", keep);
  ok(first && first->flags == keep, "flags of the request are kept with the patch");
  is(retire((uintptr_t)first), PULP_OK, "retire");
  ok(is_loaded(container(0)) && count_patches() == 1, "the container stays, and its block");
  constructor_runs = 0;
  bool all = true;
  int before = mappings();
  for (int round = 0; round < 200; round++) {
    struct pulp_patch *next = apply_and_revert("r", keep);
    all &= next && next->flags == (keep | PULP_PATCH_WAS_LOADED) && retire((uintptr_t)next) == PULP_OK && count_patches() == 1;
  }
  ok(all && first_patch() == first && mappings() == before && !constructor_runs, "200 times again: one block, nothing runs again");
  struct pulp_patch *second = apply_and_revert("r", 0);
  is(unload((uintptr_t)second), PULP_STILL_LOADED, "unload while another block names the container");
  ok(count_patches() == 1 && is_loaded(container(0)), "gives this block back and leaves the container");
  is(unload((uintptr_t)first), PULP_OK, "the last one unloads it");
  ok(nothing_left(0) && !is_loaded(container(0)), "nothing is left");
  is(retire(0x1234), PULP_EINVALIDULP, "retire of a wild pointer");
  /* An older block without a handle gets the newer one's: only then nothing can unload the container. */
  void *held = dlopen(container(0), RTLD_NOW);
  first = apply_and_revert("r", 0);
  is(unload((uintptr_t)first), PULP_STILL_LOADED, "held by the program");
  second = apply_and_revert("r", keep);
  is(retire((uintptr_t)second), PULP_OK, "retire the next one");
  dlclose(held);
  ok(is_loaded(container(0)) && count_patches() == 1 && first_patch()->handle && first_patch()->flags & PULP_PATCH_KEEP,
     "the remaining block keeps the container");
  is(unload((uintptr_t)first_patch()), PULP_OK, "until it is asked to go");
  request_begin(1, 0);
  add_functions(0, "r", 0, 0, 1)->flags = 1;
  refused(PULP_EINVALIDULP, "malformed", "a flag that is the runtime's own");
}

static void test_pin(void) {
  struct library own = open_library(directory, "libbig.so");
  char path[4200];
  snprintf(path, sizeof path, "%s/bigpatch.so", directory);
  for (int pinned = 0; pinned < 2; pinned++) {
    request_begin(1, 0);
    struct pulp_request_patch *from = request_patch(0, "pin", &own, path, 1, 0);
    from->flags = pinned ? PULP_PATCH_PIN : 0;
    request_unit(from, 0, (uintptr_t)dlsym(own.handle, "big1"), 0, "big1_v");
    is(stage(), PULP_OK, pinned ? "a pinning patch" : "one that does not pin");
    commit();
    dlclose(own.handle);
    ok(is_loaded(own.path) == pinned, "the program closes the library: %s", pinned ? "it stays" : "it goes");
    request_begin(0, 1);
    request_revert(0, "pin");
    is(stage(), PULP_OK, "revert");
    commit();
    uint64_t patch = (uintptr_t)find_patch("pin");
    if (pinned) {
      is(retire(patch), PULP_OK, "retire");
      ok(!is_loaded(own.path) && is_loaded(path), "lets the library go and keeps the container");
    }
    is(unload(patch), PULP_OK, "unload");
    ok(nothing_left(0) && !is_loaded(path), "nothing is left");
    own = open_library(directory, "libbig.so");
  }
  request_begin(1, 0);
  struct pulp_request_patch *from = request_patch(0, "pin", &own, path, 1, 0);
  from->flags = PULP_PATCH_PIN;
  request_unit(from, 0, (uintptr_t)dlsym(own.handle, "big1"), 0, "missing");
  is(stage(), PULP_ENONEWFUNC, "a stage that fails");
  dlclose(own.handle);
  ok(nothing_left(0) && !is_loaded(own.path), "pins nothing");
}

static void test_cycles(void) {
  int maps = 0;
  long own = 0;
  volatile char *ring = AT(ext->messages); /* each stage leaves a message: the ring is bounded, make it resident first */
  for (uint32_t i = 0; i < PULP_MSG_RING_SIZE; i += 4096) ring[i] = ring[i];
  request_begin(1, 0);
  add_functions(0, "c", 0, 0, 4);
  bool all = true;
  for (int cycle = 0; cycle < 10000; cycle++) {
    all &= stage() == PULP_OK && abort_operation();
    if (cycle == 1000) maps = mappings(), own = own_memory_kib();
  }
  ok(all && nothing_left(0), "10000 cycles of stage and unload");
  is(mappings(), maps, "mappings as after 1000");
  long in_the_end = own_memory_kib();
  ok(own > 0 && in_the_end <= own + 64, "memory of its own: %ld KiB, after 1000: %ld KiB", in_the_end, own);
}

int main(int count, char **arguments) {
  begin_tests(count, arguments);
  test_failed_revert();
  test_written_off();
  test_retire();
  test_pin();
  test_unload();
  test_cycles();
  return done();
}
