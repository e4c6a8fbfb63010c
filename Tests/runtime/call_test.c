/* call_test.c: the remote call from outside. The victim's threads check their own state all the time; the tracer is
 * killed at each of its phases and at random moments. argv[1]: the victim; LD_PRELOAD for it is in argv[2].
 */
#include "tracer.h"
#include "victim.h"
#include "tap.h"
#include <sys/mman.h>
#include <sys/syscall.h>

enum { SEIZED = 1, STOPPED, FRAME, MAILBOX, REGISTERS, RUNNING, FINISHED, PHASES };
static const char *phase_names[] = {"", "seized", "stopped", "frame written", "mailbox written", "registers set", "running", "finished"};

static struct victim_shared *shared;
static struct pulp_ext ext;
static pid_t victim;
static uint64_t sequence;

static struct pulp_mailbox read_mailbox(void) {
  struct pulp_mailbox mailbox;
  memset(&mailbox, 0, sizeof mailbox);
  peek(victim, ext.mailbox, &mailbox, sizeof mailbox);
  return mailbox;
}

static void die_at(int phase, int wanted) {
  if (phase == wanted) kill(getpid(), SIGKILL);
}

static bool wait_done(uint64_t wanted) {
  for (long limit = milliseconds() + PATIENCE; milliseconds() < limit; usleep(100)) {
    struct pulp_mailbox mailbox = read_mailbox();
    if (mailbox.state == PULP_CALL_DONE && mailbox.sequence == wanted) return true;
  }
  return false;
}

/* The tool's part. With `stay` it keeps the thread traced until the call has ended, and then just exits. */
static bool call(pid_t tid, uint64_t number, int die, bool stay) {
  uint64_t arguments[6] = {1, 2, 3, 4, 5, number};
  struct user_regs_struct registers;
  uint32_t armed = PULP_CALL_ARMED;
  if (ptrace(PTRACE_SEIZE, tid, 0, 0)) return false;
  die_at(SEIZED, die);
  if (!stop_thread(tid)) return false;
  die_at(STOPPED, die);
  if (!write_frame(victim, tid, &ext, shared->callee, arguments, number, &registers)) return false;
  die_at(FRAME, die);
  poke(victim, ext.mailbox, &armed, sizeof armed);
  die_at(MAILBOX, die);
  if (!set_registers(tid, &registers)) return false;
  die_at(REGISTERS, die);
  if (!stay) return !ptrace(PTRACE_DETACH, tid, 0, 0) && wait_done(number);
  if (ptrace(PTRACE_CONT, tid, 0, 0)) return false;
  die_at(RUNNING, die);
  bool ended = wait_done(number);
  die_at(FINISHED, die);
  return ended; /* exiting lets go */
}

/* Runs the tool in a process of its own; kills it after `kill_after` microseconds if that is not negative. */
static int run_tool(int thread, int die, bool stay, int kill_after) {
  pid_t tid = shared->threads[thread].tid, tool;
  int status = 0;
  sequence++;
  if (!(tool = fork())) _exit(call(tid, sequence, die, stay) ? 0 : 1);
  if (kill_after >= 0) usleep(kill_after), kill(tool, SIGKILL);
  waitpid(tool, &status, 0);
  return status;
}

/* No call is under way, and the thread is its own again. */
static bool settled(int thread) {
  static bool failed; /* once is enough to be patient */
  unsigned long before = shared->threads[thread].progress;
  for (long limit = milliseconds() + (failed ? PATIENCE / 100 : PATIENCE); milliseconds() < limit; usleep(200))
    if (shared->calls == shared->left && shared->threads[thread].progress > before + 1 &&
        read_mailbox().state != PULP_CALL_RUNNING)
      return true;
  failed = true;
  return false;
}

static unsigned long total(size_t field) {
  unsigned long sum = 0;
  for (int i = 0; i < VICTIM_THREADS; i++) sum += *(atomic_ulong *)((char *)&shared->threads[i] + field);
  return sum;
}
#define TOTAL(field) total(offsetof(struct victim_thread, field))

static void unharmed(const char *when, bool killed) {
  ok(!kill(victim, 0) && !waitpid(victim, NULL, WNOHANG), "%s: the victim lives", when);
  is(TOTAL(corrupt), 0, "registers, flags, red zone and results of its threads are unharmed");
  is(shared->wrong, 0, "the callee found its arguments, stack, mask and mailbox as promised");
  is(TOTAL(eintr) - shared->threads[EPOLL].eintr, 0, "no EINTR in calls that the kernel can restart");
  if (!killed) is(shared->threads[EPOLL].eintr, 0, "nor in epoll_wait");
  is(TOTAL(late), 0, "no wait was too long");
}

static void test_calls(void) {
  int failed = 0, results = 0;
  for (int round = 0; round < 240; round++) {
    int thread = round % VICTIM_THREADS, status = run_tool(thread, 0, round / VICTIM_THREADS % 2, -1);
    struct pulp_mailbox mailbox = read_mailbox();
    if (!WIFEXITED(status) || WEXITSTATUS(status)) failed++;
    else results += mailbox.result == 15 + sequence && mailbox.result_high == 3 * sequence;
    if (!settled(thread)) failed++;
  }
  is(failed, 0, "240 calls, detached at once or stayed with");
  is(results, 240, "both result words are in the mailbox");
  unharmed("after them", false);
}

static void test_phases(void) {
  for (int phase = SEIZED; phase < PHASES; phase++) {
    int lost = 0, stuck = 0;
    for (int round = 0; round < 24; round++) {
      int thread = round % VICTIM_THREADS;
      run_tool(thread, phase, true, -1);
      if (phase >= REGISTERS && !wait_done(sequence)) lost++;
      if (!settled(thread)) stuck++;
    }
    ok(!lost && !stuck, "tracer killed 24 times when %s: %d lost, %d stuck", phase_names[phase], lost, stuck);
  }
  unharmed("after these kills", true);
}

/* The moments of death spread over as much time as a call takes here and now: about half of the tools finish theirs. */
static void test_random(void) {
  int stuck = 0, sent = 0, killed = 0;
  double span = 1200; /* µs */
  unsigned long signals = shared->signals, calls = shared->calls;
  for (int round = 0; round < 400; round++) {
    int thread = rand() % VICTIM_THREADS;
    for (int i = 0; i < 2; i++) sent += !syscall(SYS_tgkill, victim, (int)shared->threads[i].tid, SIGUSR1);
    bool died = WIFSIGNALED(run_tool(thread, 0, rand() % 2, rand() % (int)span));
    killed += died;
    span *= died ? 1.05 : 0.95;
    if (span < 200) span = 200;
    if (!settled(thread)) stuck++;
  }
  is(stuck, 0, "tracer killed at 400 random moments, no thread is stuck");
  ok(killed > 150 && shared->calls - calls > 50, "%d kills came in time, %lu calls ran", killed, shared->calls - calls);
  for (long limit = milliseconds() + 5000; milliseconds() < limit && shared->signals - signals < (unsigned long)sent;) usleep(1000);
  ok(shared->signals > signals && shared->signals - signals <= (unsigned long)sent, "signals arrived: %lu of %d (standard signals merge)",
     shared->signals - signals, sent);
  unharmed("after these kills", true);
}

/* A fault in the callee: the tracer sees it before the program does, and sends the carrier home. */
static void test_abandon(void) {
  int right = 0;
  for (int round = 0; round < 20; round++) {
    pid_t tid = shared->threads[round % 2 ? PROBE_A : FUTEX].tid;
    uint64_t arguments[6] = {0}, frame;
    struct user_regs_struct registers;
    struct pulp_mailbox before = read_mailbox();
    int status;
    if (ptrace(PTRACE_SEIZE, tid, 0, 0) || !stop_thread(tid)) break;
    frame = write_frame(victim, tid, &ext, shared->faulty, arguments, 1ull << 40, &registers);
    set_registers(tid, &registers);
    ptrace(PTRACE_CONT, tid, 0, 0);
    waitpid(tid, &status, __WALL);
    if (WIFSTOPPED(status) && WSTOPSIG(status) == SIGSEGV && get_registers(tid, &registers)) right++;
    registers.rip = ext.call_abandon;
    registers.r12 = frame;
    registers.orig_rax = -1;
    set_registers(tid, &registers);
    ptrace(PTRACE_DETACH, tid, 0, 0);
    shared->left++;
    if (!settled(round % 2 ? PROBE_A : FUTEX)) right--;
    struct pulp_mailbox after = read_mailbox();
    if (after.state != PULP_CALL_ABANDONED || after.sequence != before.sequence || after.result != before.result) right--;
  }
  is(right, 20, "20 faulting calls were abandoned without a result");
  unharmed("after them", false);
}

static bool start(const char *program, char *preload) {
  int memory = memfd_create("shared", 0);
  if (memory < 0 || ftruncate(memory, sizeof *shared)) return false;
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
  if (!(victim = fork())) {
    char *environment[] = {preload, NULL};
    dup2(memory, 3);
    execle(program, program, NULL, environment);
    _exit(127);
  }
  for (long limit = milliseconds() + PATIENCE; milliseconds() < limit && !shared->ready;) usleep(1000);
  for (int i = 0; i < VICTIM_THREADS; i++)
    while (shared->ready && !shared->threads[i].tid) usleep(100);
  return shared->ready && peek(victim, shared->ext, &ext, sizeof ext) && ext.magic == PULP_EXT_MAGIC;
}

int main(int count, char **arguments) {
  if (count < 3 || !start(arguments[1], arguments[2])) {
    puts("Bail out! the victim does not start");
    return 1;
  }
  test_calls();
  test_abandon();
  test_phases();
  test_random();
  kill(victim, SIGKILL);
  return done();
}
