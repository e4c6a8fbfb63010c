/* guest_test.c: containers from memory files, and what the constructor of a guest does to the thread that runs it. */
#include "stage.h"
#include <signal.h>
#include <sys/wait.h>

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

int main(int count, char **arguments) {
  begin_tests(count, arguments);
  test_memory_files();
  test_guest();
  return done();
}
