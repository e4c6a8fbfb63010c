/* stage_test.c: what stage makes of a request: patches, slots and transitions, or a refusal that leaves nothing. */
#include "stage.h"

static void test_success(void) {
  request_begin(1, 0);
  struct pulp_request_patch *from = request_patch(0, "first", &target, container(0), 2, 2);
  request_unit(from, 0, entry_of(3), 0, "t3_v");
  request_unit(from, 1, entry_of(9), 0, "t9_v");
  request_reference(from, 0, (uintptr_t)dlsym(target.handle, "target_variable") - target.bias, "reference_variable", 0);
  request_reference(from, 1, 0, "reference_tls", 1);
  errno = 77;
  constructor_runs = 0;
  is(stage(), PULP_OK, "stage succeeds");
  is(errno, 77, "errno of the carrier is its own");
  is(constructor_runs, 1, "the container's constructor ran once");
  is(mailbox->text_size, 0, "no complaint in the mailbox");
  is(operation->state, PULP_OP_STAGED, "state");
  is(operation->universe, 2, "leads to the next universe");
  ok(operation->owner_pid == (uint64_t)getpid() && operation->owner_start == 12345 && operation->token == 67890 &&
     operation->tool_pid == 4711, "owner fields");
  is(operation->transition_count, 2, "two transitions");
  struct pulp_patch *patch = first_patch();
  ok(operation->first_patch == (uintptr_t)patch && patch->magic == PULP_PATCH_MAGIC, "the patch is listed in both lists");
  void *handle = dlopen(container(0), RTLD_NOW | RTLD_NOLOAD);
  struct pulp_unit *units = AT(patch->record.units);
  ok(units[0].patched_addr == entry_of(3) && units[0].target_addr == (uintptr_t)dlsym(handle, "t3_v") &&
     units[0].next == (uintptr_t)&units[1] && !units[1].next && patch->unit_count == 2, "units");
  ok(!memcmp(units[0].overwritten, AT(entry_of(3)), 14), "overwritten bytes");
  ok(!strcmp(AT(patch->record.lib_name), "libtarget.so") && !strcmp(AT(patch->record.container_name), container(0)) &&
     !strcmp((char *)patch->record.id, "first") && patch->record.time && !patch->record.next, "SUSE's record");
  ok(patch->container_start <= units[0].target_addr && units[0].target_addr < patch->container_end &&
     patch->build_id_size == 20 && patch->target_bias == target.bias && !(patch->flags & PULP_PATCH_WAS_LOADED) &&
     patch->applied_universe == 2 && !patch->reverted_universe, "facts about the container");
  bool right = true;
  for (int i = 0; i < 2; i++) {
    struct pulp_slot *slot = &slots[transitions[i].slot];
    right &= transitions[i].entry == units[i].patched_addr && transitions[i].new_target == units[i].target_addr &&
             transitions[i].old_target == units[i].patched_addr + 2 && slot->since == 2 &&
             slot->entry == transitions[i].entry && slot->new_target == transitions[i].new_target &&
             slot->old_target == transitions[i].old_target;
  }
  ok(right, "transitions and slots agree with the units");
  ok(**(int **)dlsym(handle, "reference_variable") == 42, "the reference reaches the target's variable");
  is(((int (*)(void))dlsym(handle, "read_tls"))(), 7, "the TLS reference reaches the thread's variable");
  is(*universe, 1, "the universe is untouched");
  dlclose(handle);
  is(stage(), PULP_ESTATE, "a second stage is refused while one is pending");
  is(operation->state, PULP_OP_STAGED, "and does not disturb it");
  is(unload((uintptr_t)patch), PULP_ESTATE, "unload is refused while slots lead into the container");
  ok(abort_operation() && nothing_left(0), "abort leaves nothing");
  ok(!dlopen(container(0), RTLD_NOW | RTLD_NOLOAD), "the container is unloaded");
}

static void test_refusals(void) {
  request_begin(2, 0);
  struct pulp_request_patch *from = add_functions(0, "a", 0, 0, 3);
  request_unit(from, 1, entry_of(1), 0, "missing_one");
  from = add_functions(1, "b", 1, 4, 8);
  request_unit(from, 0, entry_of(4), 0, "missing_two");
  request_unit(from, 3, entry_of(7), 0, "malloc");
  refused(PULP_ENONEWFUNC, "missing_one\nmissing_two\nmalloc\n", "missing functions of two patches");
  request_begin(1, 0);
  from = request_patch(0, "many", &target, container(0), 100, 0);
  for (int i = 0; i < 100; i++) {
    char name[64];
    snprintf(name, sizeof name, "a_rather_long_name_of_a_function_that_is_missing_%d", i);
    request_unit(from, i, entry_of(i), 0, name);
  }
  refused(PULP_ENONEWFUNC, " more\n", "more missing names than the mailbox holds");
  request_begin(1, 0);
  from = request_patch(0, "r", &target, container(0), 1, 2);
  request_unit(from, 0, entry_of(0), 0, "t0_v");
  request_reference(from, 0, 0, "no_reference", 0);
  request_reference(from, 1, 0, "t1_v", 0);
  refused(PULP_ENOREFERENCE, "no_reference\nt1_v\n", "missing and read-only references");
  request_reference(from, 0, 1ull << 40, "reference_variable", 0);
  refused(PULP_EINVALIDULP, "reference_variable", "a reference outside the target");
  request_reference(from, 0, 4096, "reference_tls", 1);
  refused(PULP_EINVALIDULP, "reference_tls", "a TLS offset outside the target's block");
  void *handle = dlopen(container(0), RTLD_NOW);
  struct link_map *map;
  dlinfo(handle, RTLD_DI_LINKMAP, &map);
  uint64_t dynamic = (uintptr_t)map->l_ld - map->l_addr;
  dlclose(handle);
  request_reference(from, 0, 0, "protected", 0);
  ((struct pulp_request_reference *)((char *)AT(ext->request) + from->references_offset))->patch_offset = dynamic;
  refused(PULP_ENOREFERENCE, "protected\n", "a reference in what the loader has made read-only");
  request_begin(1, 0);
  from = add_functions(0, "id", 0, 0, 1);
  from->build_id[3] ^= 1;
  refused(PULP_EBUILDID, "container0.so", "wrong build ID of the container");
  from->build_id[3] ^= 1;
  from->target_build_id[19] ^= 1;
  refused(PULP_EBUILDID, "libtarget.so", "wrong build ID of the target");
  from->target_build_id[19] ^= 1;
  from->target_bias += 4096;
  refused(PULP_ENOTARGETLIB, "libtarget.so", "no library at that bias");
  from->target_bias -= 4096;
  request_unit(from, 0, (uintptr_t)dlsym(target.handle, "target_variable"), 0, "t0_v");
  refused(PULP_EINVALIDULP, "libtarget.so", "an entry in data");
  request_begin(1, 0);
  snprintf((char *)AT(ext->request) + 8192, 4096, "%s/nowhere.so", directory);
  request_patch(0, "p", &target, (char *)AT(ext->request) + 8192, 1, 0);
  request_unit((void *)((char *)AT(ext->request) + 64), 0, entry_of(0), 0, "t0_v");
  errno = 78;
  refused(PULP_EDLOPEN, "nowhere.so", "a container that is not there");
  request_unit((void *)((char *)AT(ext->request) + 64), 0, entry_of(0), 0, "t0_v");
  errno = 78, stage();
  is(errno, 78, "errno after a refusal");
  request_begin(1, 1);
  add_functions(0, "id", 0, 0, 50);
  request_revert(0, "unknown");
  refused(PULP_ENOTAPPLIED, "756e6b6e6f776e00", "a revert of what is not applied");
  *error_state = 280;
  is(stage(), PULP_EUSRBLOCKED, "disabled");
  *error_state = 256;
  is(stage(), PULP_EUNKNOWN, "error state");
  *error_state = 0;
}

static void test_pool_full(void) {
  for (uint32_t i = 0; i < PULP_POOL_COUNT; i++) slots[i].entry = i % 200 ? 1 : 0;
  request_begin(1, 0);
  add_functions(0, "full", 0, 0, 42);
  uint32_t used = used_slots();
  is(stage(), PULP_EPOOLFULL, "42 functions do not fit into 41 stubs");
  ok(used_slots() == used && operation->state == PULP_OP_IDLE && !count_patches(), "nothing is left");
  request_begin(1, 0);
  add_functions(0, "fits", 0, 0, 41);
  is(stage(), PULP_OK, "41 fit");
  is(used_slots(), PULP_POOL_COUNT, "every stub is taken");
  abort_operation();
  memset(slots, 0, PULP_POOL_COUNT * sizeof *slots);
}

static void test_malformed(void) {
  request_begin(1, 0);
  struct pulp_request_patch *from = request_patch(0, "m", &target, container(0), 2, 1);
  request_unit(from, 0, entry_of(0), 0, "t0_v");
  request_unit(from, 1, entry_of(1), 0, "t1_v");
  request_reference(from, 0, (uintptr_t)dlsym(target.handle, "target_variable") - target.bias, "reference_variable", 0);
  uint32_t size = request_used, staged = 0, refused_count = 0;
  uint8_t *bytes = AT(ext->request), good[8192];
  memcpy(good, bytes, size);
  bool clean = true;
  for (uint32_t at = 0; at < size; at++)
    for (int kind = 0; kind < 4; kind++) {
      memcpy(bytes, good, size);
      bytes[at] ^= (uint8_t[]){0x01, 0x80, 0xff, good[at]}[kind];
      if (stage() == PULP_OK) staged++, clean &= abort_operation();
      else refused_count++;
      clean &= nothing_left(0);
    }
  ok(clean && staged && refused_count, "every byte altered: %u accepted, %u refused, nothing left", staged, refused_count);
  clean = true;
  for (uint32_t cut = 0; cut < size; cut++) {
    memcpy(bytes, good, size);
    ((struct pulp_request *)bytes)->size = cut;
    if (stage() != PULP_EINVALIDULP || !nothing_left(0)) clean = false;
  }
  ok(clean, "cut at every length: refused as malformed");
  struct { const char *name; uint32_t *field; uint32_t value; } lies[] = {
    {"patch_count", &((struct pulp_request *)bytes)->patch_count, UINT32_MAX},
    {"revert_count", &((struct pulp_request *)bytes)->revert_count, UINT32_MAX},
    {"size", &((struct pulp_request *)bytes)->size, UINT32_MAX},
    {"unit_count", &from->unit_count, UINT32_MAX / 16 + 1},
    {"units_offset", &from->units_offset, UINT32_MAX - 7},
    {"references_offset", &from->references_offset, 0},
    {"reference_count", &from->reference_count, 0x80000000u},
    {"path_offset", &from->path_offset, UINT32_MAX},
    {"build_id_size", &from->build_id_size, 65},
    {"lib_name_offset of an empty string", &from->lib_name_offset, from->path_offset + (uint32_t)strlen(container(0))},
    {"path_offset of a relative path", &from->path_offset, from->path_offset + 1},
  };
  for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
    memcpy(bytes, good, size);
    *lies[i].field = lies[i].value;
    is(stage(), PULP_EINVALIDULP, lies[i].name);
  }
  memcpy(bytes, good, size);
  is(stage(), PULP_OK, "the unaltered request is good");
  abort_operation();
}

int main(int count, char **arguments) {
  begin_tests(count, arguments);
  test_success();
  test_refusals();
  test_pool_full();
  test_malformed();
  return done();
}
