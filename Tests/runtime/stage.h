/* stage.h: what the tests of stage and unload share. They call both in the process itself, with the runtime preloaded;
 * the fixtures' directory is argv[1].
 */
#ifndef STAGE_H
#define STAGE_H
#include "request.h"
#include "tap.h"
#include <errno.h>

int constructor_runs; /* counted by the constructors of all containers: see fixtures */
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

static void refused(uint64_t expected, const char *text, const char *name) {
  int before = mappings();
  uint64_t got = stage();
  is(got, expected, name);
  if (!ok(text_has(text), "%s: the text says it", name)) printf("# text: %.*s\n", (int)mailbox->text_size, mailbox->text);
  ok(nothing_left(0) && mappings() <= before, "%s: nothing is left", name);
}

static bool is_loaded(const char *path) {
  void *handle = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
  if (handle) dlclose(handle);
  return handle != NULL;
}

static void begin_tests(int count, char **arguments) {
  if (count < 2) exit(2);
  directory = arguments[1];
  find_runtime();
  target = open_library(directory, "libtarget.so");
}
#endif
