/* suse_test.c: the entry points driven as SUSE's tool does it: rip = entry + 2, no vector state saved, wait for the int3.
 * argv: a program that sleeps, "LD_PRELOAD=...", the runtime, a program that waits in its allocator (nested.c).
 */
#include "tracer.h"
#include "tap.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static pid_t victim;
static uint64_t bias; /* of the runtime there, from its copy here */

static uint64_t symbol(void *handle, const char *name) {
  struct link_map *map;
  dlinfo(handle, RTLD_DI_LINKMAP, &map);
  return (uintptr_t)dlsym(handle, name) - map->l_addr + bias;
}

static uint64_t find_bias(void) {
  char path[64], line[4096];
  unsigned long start = 0;
  snprintf(path, sizeof path, "/proc/%d/maps", victim);
  FILE *file = fopen(path, "r");
  while (file && !start && fgets(line, sizeof line, file))
    if (strstr(line, "libpulp.so")) sscanf(line, "%lx", &start);
  if (file) fclose(file);
  return start;
}

/* Runs an entry; `kept` says whether the vector state and the rest survived. */
static uint64_t enter(uint64_t entry, bool *kept) {
  struct user_regs_struct saved, registers;
  static uint8_t before[XSAVE_MAX], after[XSAVE_MAX];
  struct iovec from = {before, sizeof before}, to = {after, sizeof after};
  int status;
  get_registers(victim, &saved);
  for (unsigned i = 160; i < 416; i++) before[i] = (uint8_t)(i * 13); /* xmm */
  ptrace(PTRACE_GETREGSET, victim, NT_X86_XSTATE, &from);
  for (unsigned i = 0; i < 256; i++) before[160 + i] = (uint8_t)(i * 13 + 1);
  *(uint64_t *)(before + 512) |= 3; /* XSTATE_BV: x87, SSE */
  ptrace(PTRACE_SETREGSET, victim, NT_X86_XSTATE, &from);
  registers = saved;
  registers.rip = entry + 2;
  registers.rsp = (registers.rsp - 128) & ~63ull;
  set_registers(victim, &registers);
  ptrace(PTRACE_CONT, victim, 0, 0);
  waitpid(victim, &status, __WALL);
  get_registers(victim, &registers);
  ptrace(PTRACE_GETREGSET, victim, NT_X86_XSTATE, &to);
  *kept = WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP && registers.rip == entry + 8 &&
          !memcmp(before + 32, after + 32, 384) && from.iov_len == to.iov_len;
  set_registers(victim, &saved);
  return registers.rax;
}

static void expect(void *handle, const char *name, uint64_t result) {
  bool kept;
  is(enter(symbol(handle, name), &kept), result, name);
  ok(kept, "%s: stopped at its int3, x87 and vector registers untouched", name);
}

static uint64_t word(uint64_t address) {
  uint64_t value = 0;
  peek(victim, address, &value, 8);
  return value;
}

/* Starts a victim and stops it as SUSE's tool does, in the system call in which it waits: it may be long on its way there. */
static bool begin(const char *program, char **environment, long waits_in) {
  int status, executed[2];
  char none;
  struct user_regs_struct registers;
  if (pipe2(executed, O_CLOEXEC)) return false;
  if (!(victim = fork())) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execle(program, "victim", "100000", NULL, environment);
    _exit(127);
  }
  close(executed[1]);
  while (read(executed[0], &none, 1) < 0 && errno == EINTR) continue; /* an execve of a tracee would send it SIGTRAP */
  close(executed[0]);
  for (long limit = milliseconds() + PATIENCE; milliseconds() < limit; usleep(1000)) {
    if (ptrace(PTRACE_ATTACH, victim, 0, 0) || waitpid(victim, &status, __WALL) != victim || !WIFSTOPPED(status)) return false;
    if (WSTOPSIG(status) == SIGSTOP && get_registers(victim, &registers) && (long)registers.orig_rax == waits_in) {
      bias = find_bias();
      return bias != 0;
    }
    ptrace(PTRACE_DETACH, victim, 0, WSTOPSIG(status) == SIGSTOP ? 0 : WSTOPSIG(status));
  }
  return false;
}

static void set_mask(uint64_t mask) { ptrace(PTRACE_SETSIGMASK, victim, (void *)8, &mask); }
static uint64_t get_mask(void) {
  uint64_t mask = 0;
  ptrace(PTRACE_GETSIGMASK, victim, (void *)8, &mask);
  return mask;
}

/* A call that ends in a fault leaves signals blocked. The next one gives back the mask, but not over the program's own. */
static void after_fault(void *handle, uint64_t ext) {
  uint64_t nowhere = 4096, top, place = ext + offsetof(struct pulp_ext, call_stack_top);
  bool kept;
  peek(victim, place, &top, 8);
  for (int changed = 0; changed < 2; changed++) {
    set_mask(0x200);
    poke(victim, place, &nowhere, 8);
    enter(symbol(handle, "__ulp_revert_all"), &kept);
    ok(!kept && get_mask() != 0x200, "a call that faults");
    poke(victim, place, &top, 8);
    if (changed) set_mask(0x800);
    expect(handle, "__ulp_get_global_universe", 1);
    is(get_mask(), changed ? 0x800 : 0x200, changed ? "the program's mask stays" : "the mask is given back");
  }
}

/* Eight stack pointers are possible for the diverted thread. Of this one the right one leads to a signal frame, and any
 * other to a word of zeros. */
static void in_handler(void *handle, const char *program, char **environment) {
  char text[256] = "";
  if (!begin(program, environment, SYS_pause)) exit(2);
  uint64_t queue = symbol(handle, "__ulp_msg_queue");
  poke(victim, symbol(handle, "__ulp_metadata_buffer"), "libnone.so", 11);
  expect(handle, "__ulp_revert_all", PULP_EAGAIN);
  peek(victim, queue + 19, text, sizeof text - 1);
  ok(!!strstr(text, "is in the allocator"), "in a signal handler that interrupted malloc: %.*s", (int)strcspn(text, "\n"), text);
  kill(victim, SIGKILL);
}

int main(int count, char **arguments) {
  char *environment[] = {count > 3 ? arguments[2] : "", NULL}, text[4096];
  void *handle = count > 3 ? dlopen(arguments[3], RTLD_NOW) : NULL;
  if (!handle || !begin(arguments[1], environment, SYS_clock_nanosleep)) return 2;
  uint64_t queue = symbol(handle, "__ulp_msg_queue"), error = symbol(handle, "__ulp_error_state");
  uint64_t universe_before, pushed;
  is(word(symbol(handle, "__ulp_state")) & 0xff, 1, "load state");
  peek(victim, symbol(handle, "__ulp_version"), text, 6);
  ok(!strcmp(text, "0.4.0"), "version");
  is(word(symbol(handle, "__ulp_insn_queue")), 1, "instruction queue: version 1, empty");
  is(word(queue + PULP_MSG_RING_SIZE + 8) & 0xffffffff, 19, "one message");
  peek(victim, queue, text, 19);
  ok(!strcmp(text, "libpulp loaded...\n"), "the first message");
  expect(handle, "__ulp_get_global_universe", 1);
  expect(handle, "__ulp_trigger", 269);
  pushed = word(queue + PULP_MSG_RING_SIZE + 8) & 0xffffffff;
  peek(victim, queue + 19, text, pushed - 19);
  ok(pushed > 19 && strstr(text, "trigger") && strstr(text, "269"), "pushed one message: %.*s", (int)strcspn(text, "\n"), text);
  poke(victim, symbol(handle, "__ulp_metadata_buffer"), "libnone.so", 11);
  expect(handle, "__ulp_revert_all", 276);
  poke(victim, symbol(handle, "__ulp_metadata_buffer"), "some/libc.so.6", 15);
  expect(handle, "__ulp_revert_all", 284);
  ok((word(queue + PULP_MSG_RING_SIZE + 8) & 0xffffffff) > pushed, "pushed one message");
  is(word(symbol(handle, "__ulp_insn_queue")), 1, "nothing is queued");
  expect(handle, "__ulp_check_patched", 0);
  expect(handle, "__ulp_enable_or_disable_patching", 280);
  is(word(error) & 0xffffffff, 280, "disabled");
  expect(handle, "__ulp_enable_or_disable_patching", 0);
  is(word(error) & 0xffffffff, 0, "enabled");
  uint32_t failed = 256;
  poke(victim, error, &failed, 4);
  expect(handle, "__ulp_enable_or_disable_patching", 256);
  failed = 0;
  poke(victim, error, &failed, 4);
  after_fault(handle, symbol(handle, "__ulp_ext"));
  struct pulp_ext ext; /* a patch in force, as the tool would leave it */
  peek(victim, symbol(handle, "__ulp_ext"), &ext, sizeof ext);
  struct pulp_patch patch = {.record.id = "0123456789abcdef", .magic = PULP_PATCH_MAGIC, .applied_universe = 1};
  uint64_t place = ext.call_stack_bottom;
  poke(victim, place, &patch, sizeof patch), poke(victim, ext.patches, &place, 8);
  poke(victim, ext.request, patch.record.id, 32);
  expect(handle, "__ulp_check_patched", 1);
  failed = 280;
  poke(victim, error, &failed, 4);
  expect(handle, "__ulp_check_patched", 0);
  failed = 0;
  poke(victim, error, &failed, 4);
  poke(victim, ext.request, "X", 1);
  expect(handle, "__ulp_check_patched", 0);
  poke(victim, ext.request, "0", 1);
  patch.reverted_universe = 1;
  poke(victim, place, &patch, sizeof patch);
  expect(handle, "__ulp_check_patched", 0);
  patch.reverted_universe = 0, patch.applied_universe = 2;
  poke(victim, place, &patch, sizeof patch);
  expect(handle, "__ulp_check_patched", 0);
  universe_before = word(ext.universe);
  is(universe_before, 1, "the universe is untouched");
  kill(victim, SIGKILL);
  if (count > 4) in_handler(handle, arguments[4], environment);
  return done();
}
