/* stage_test.c: stage and unload, called in the process itself with the runtime preloaded. argv[1]: the fixtures. */
#include "request.h"
#include "tap.h"
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

int constructor_runs;
static const char *directory;
static struct library target;

static const char *container(int version) {
  static char paths[8][4096];
  snprintf(paths[version], sizeof paths[version], "%s/container%d.so", directory, version);
  return paths[version];
}

static uint64_t entry_of(int function) {
  char name[32];
  snprintf(name, sizeof name, "t%d", function);
  return (uintptr_t)dlsym(target.handle, name);
}

/* Functions [from, to) of one container as one patch of the request. */
static struct pulp_request_patch *add_functions(uint32_t index, const char *id, int version, int from, int to) {
  struct pulp_request_patch *patch = request_patch(index, id, &target, container(version), to - from, 0);
  for (int i = from; i < to; i++) {
    char name[32];
    snprintf(name, sizeof name, "t%d_v", i);
    request_unit(patch, i - from, entry_of(i), 0, name);
  }
  return patch;
}

static bool nothing_left(uint32_t patches) {
  return operation->state == PULP_OP_IDLE && !operation->first_patch && !operation->transition_count && !used_slots() &&
         count_patches() == patches;
}

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

static void refused(uint64_t expected, const char *text, const char *name) {
  int before = mappings();
  uint64_t got = stage();
  is(got, expected, name);
  if (!ok(text_has(text), "%s: the text says it", name)) printf("# text: %.*s\n", (int)mailbox->text_size, mailbox->text);
  ok(nothing_left(0) && mappings() <= before, "%s: nothing is left", name);
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

static bool is_loaded(const char *path) {
  void *handle = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
  if (handle) dlclose(handle);
  return handle != NULL;
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

static int open_descriptors(void) {
  int count = 0;
  for (int i = 0; i < 256; i++) count += fcntl(i, F_GETFD) >= 0;
  return count;
}

/* The tool's part: fills a memory file with a container and seals it. */
static int64_t memory_container(int version) {
  int64_t index = memory_open("ulpsh-test");
  int from = open(container(version), O_RDONLY);
  char bytes[4096];
  for (ssize_t size; (size = read(from, bytes, sizeof bytes)) > 0;)
    if (write(memory_files[index].descriptor, bytes, size) != size) return -1;
  close(from);
  return fcntl(memory_files[index].descriptor, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) ? -1 : index;
}

static void request_memory(const char *id, int version, int64_t index) {
  request_begin(1, 0);
  add_functions(0, id, version, 0, 2)->flags = (uint64_t)(index + 1) << PULP_PATCH_FILE_SHIFT;
}

static void test_memory_files(void) {
  int before = open_descriptors(), maps = mappings();
  struct pulp_patch *patches[3];
  for (int round = 0; round < 3; round++) {
    int64_t index = memory_container(round % 2);
    is(index, 0, "the first place is free");
    ok(fcntl(memory_files[0].descriptor, F_GETFD) & FD_CLOEXEC, "closed on exec");
    request_memory(round == 0 ? "m0" : round == 1 ? "m1" : "m2", round % 2, index);
    errno = 77;
    is(stage(), PULP_OK, "stage from a memory file, its number being used again");
    is(errno, 77, "errno is the carrier's own");
    is(open_descriptors(), before, "stage closes it");
    patches[round] = first_patch();
    ok(!strcmp(AT(patches[round]->record.container_name), container(round % 2)), "the record names the file it came from");
    ok(patches[round]->flags & PULP_PATCH_MEMORY && !(patches[round]->flags & PULP_PATCH_WAS_LOADED), "it is loaded anew");
    commit();
  }
  ok(patches[0]->container_start != patches[2]->container_start, "the same container twice");
  *universe += 1;
  for (int round = 2; round >= 0; round--) {
    patches[round]->reverted_universe = *universe;
    is(unload((uintptr_t)patches[round]), PULP_OK, "unload");
  }
  is(mappings(), maps, "nothing stays mapped");
  /* Refused for another reason: closed all the same. */
  int64_t index = memory_container(0);
  request_memory("m", 0, index);
  struct pulp_request_patch *from = (void *)((char *)AT(ext->request) + sizeof(struct pulp_request));
  from->build_id[0] ^= 1;
  is(stage(), PULP_EBUILDID, "another build ID");
  is(open_descriptors(), before, "a refused stage closes it, too");
  /* The program closes it, and opens something of its own. */
  index = memory_container(0);
  int number = memory_files[index].descriptor;
  close(number);
  is(open("/dev/null", O_RDONLY), number, "the number is used again");
  request_memory("m", 0, index);
  is(stage(), PULP_EDLOPEN, "what has its number is not loaded");
  ok(text_has("closed the memory file"), "and the text says so");
  ok(fcntl(number, F_GETFD) >= 0, "and it is not closed");
  close(number);
  ok(!memory_files[index].is_open, "nor listed");
  /* No file, or none at all. */
  request_memory("m", 0, 3);
  is(stage(), PULP_EDLOPEN, "a place where no file is");
  request_memory("m", 0, PULP_MEMORY_FILES);
  is(stage(), PULP_EINVALIDULP, "a place that does not exist");
  for (int i = 0; i < (int)PULP_MEMORY_FILES; i++) memory_open("ulpsh-test");
  is(memory_open("ulpsh-test"), -EMFILE, "no more than there are places");
  errno = 77;
  is(memory_close(), PULP_MEMORY_FILES, "all are closed");
  is(memory_close(), 0, "once");
  is(errno, 77, "errno is the carrier's own");
  is(open_descriptors(), before, "nothing stays open");
  ok(nothing_left(0), "nothing is left");
}

/* What the constructors of all containers do besides: see fixtures. */
static enum { NOTHING, SET_STACK, FORK, RESET_ACTION, SET_ACTION } misdeed;
static pid_t forked;
static char other_stack[65536];
static void own_handler(int number) { (void)number; }
static void other_handler(int number) { (void)number; }

void constructor_hook(void) {
  if (misdeed == SET_STACK) sigaltstack(&(stack_t){.ss_sp = other_stack, .ss_size = sizeof other_stack}, NULL);
  if (misdeed == FORK) forked = fork();
  if (misdeed == RESET_ACTION) signal(SIGSEGV, SIG_DFL);
  if (misdeed == SET_ACTION) signal(SIGSEGV, other_handler);
}

/* Loads a container whose constructor does it, and unloads it. */
static void misbehave(int what, uint32_t flags) {
  static int id;
  char name[16];
  snprintf(name, sizeof name, "guest%d", id++);
  misdeed = what;
  request_begin(1, 0)->flags = flags;
  add_functions(0, name, 0, 0, 2);
  is(stage(), PULP_OK, "stage");
  misdeed = NOTHING;
  struct pulp_patch *patch = first_patch();
  is(patch->flags & PULP_PATCH_GUEST, flags ? PULP_PATCH_GUEST : 0, "the block says how it was loaded");
  ok(abort_operation(), "abort");
}

static void test_guest(void) {
  stack_t found;
  signal(SIGSEGV, own_handler);
  misbehave(SET_STACK, PULP_REQUEST_GUEST);
  sigaltstack(NULL, &found);
  is(found.ss_flags, SS_DISABLE, "an alternate stack is taken back");
  misbehave(SET_STACK, 0);
  sigaltstack(NULL, &found);
  ok(found.ss_sp == other_stack, "not unasked: it takes system calls");
  misbehave(NOTHING, PULP_REQUEST_GUEST);
  sigaltstack(NULL, &found);
  ok(found.ss_sp == other_stack && !found.ss_flags && found.ss_size == sizeof other_stack, "the thread's own stays");
  sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL);
  misbehave(RESET_ACTION, PULP_REQUEST_GUEST);
  ok(signal(SIGSEGV, own_handler) == own_handler, "a handler that was reset is back");
  misbehave(SET_ACTION, PULP_REQUEST_GUEST);
  ok(signal(SIGSEGV, SIG_DFL) == other_handler, "one that was set stays");
  misbehave(SET_ACTION, PULP_REQUEST_GUEST);
  ok(signal(SIGSEGV, SIG_DFL) == other_handler, "also in the place of the default");
  misbehave(FORK, PULP_REQUEST_GUEST);
  int status = 0;
  is(waitpid(forked, &status, 0), forked, "a child of the constructor");
  ok(WIFEXITED(status) && WEXITSTATUS(status) == 1, "has ended before it could go on here");
  ok(nothing_left(0), "nothing is left");
}

static void test_cycles(void) {
  int maps = 0;
  long resident = 0;
  volatile char *ring = AT(ext->messages); /* each stage leaves a message: the ring is bounded, make it resident first */
  for (uint32_t i = 0; i < PULP_MSG_RING_SIZE; i += 4096) ring[i] = ring[i];
  request_begin(1, 0);
  add_functions(0, "c", 0, 0, 4);
  bool all = true;
  for (int cycle = 0; cycle < 10000; cycle++) {
    all &= stage() == PULP_OK && abort_operation();
    if (cycle == 1000) maps = mappings(), resident = resident_kib();
  }
  ok(all && nothing_left(0), "10000 cycles of stage and unload");
  is(mappings(), maps, "mappings as after 1000");
  ok(resident_kib() <= resident + 64, "resident %ld KiB, after 1000: %ld KiB", resident_kib(), resident);
}

int main(int count, char **arguments) {
  if (count < 2) return 2;
  directory = arguments[1];
  find_runtime();
  target = open_library(directory, "libtarget.so");
  test_success();
  test_refusals();
  test_failed_revert();
  test_pool_full();
  test_malformed();
  test_written_off();
  test_retire();
  test_pin();
  test_unload();
  test_memory_files();
  test_guest();
  test_cycles();
  return done();
}
