/* linux_attendant.c: serves the signal stops of seized, running threads from SIGCHLD's handler; see linux_shim.h. */
#define _GNU_SOURCE
#include "linux_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct attended {
  volatile pid_t tid; /* 0: free */
  int mode;
  volatile int held;
  struct ul_wait_status status;
};

static struct attended attended[UL_ATTEND_MAX];
static volatile sig_atomic_t attended_count, attended_high, attendant_news;
static volatile pid_t owner; /* the thread whose tracees are attended */

static int is_fault(int signal) {
  return signal == SIGSEGV || signal == SIGBUS || signal == SIGILL || signal == SIGFPE || signal == SIGTRAP ||
         signal == SIGSYS || signal == SIGABRT; /* abort(3) unblocks and raises it */
}

static int is_stop_signal(int signal) {
  return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

static void hold(struct attended *entry, const struct ul_wait_status *status) {
  entry->status = *status;
  entry->held = 1;
  attendant_news = 1;
}

static void forget(struct attended *entry) {
  entry->tid = 0;
  attended_count--;
}

/* Lets a thread go on, to its next system call if it is followed. */
static void go_on(const struct attended *entry, int signal) {
  if (entry->mode >= UL_ATTEND_FOLLOW) ul_continue_to_system_call(entry->tid, signal);
  else ul_continue(entry->tid, signal);
}

/* One look at one thread. Only async-signal-safe calls: waitpid and ptrace. */
static void serve(struct attended *entry) {
  struct ul_wait_status status;
  long result;
  while (entry->tid != 0 && !entry->held && (result = ul_wait(entry->tid, 0, &status)) != 0) {
    /* Not our tracee any more: an execve of another thread took its number, or it was collected elsewhere. */
    if (result < 0) status = (struct ul_wait_status){.kind = UL_WAIT_EXITED};
    /* A stop that we asked for and could not wait for is met here: it must end no call with EINTR either. */
    if (status.kind == UL_WAIT_STOPPED && (status.event == 0 || status.event == UL_EVENT_STOP))
      ul_spare_interruption(entry->tid, status.signal);
    if (status.kind != UL_WAIT_STOPPED) {
      if (entry->mode == UL_ATTEND_LET_GO) forget(entry);
      else hold(entry, &status);
    } else if (entry->mode == UL_ATTEND_LET_GO) {
      /* It fails when the thread was killed meanwhile: then its end is still to be collected. */
      if (ul_detach(entry->tid, status.event == 0 ? status.signal : 0) >= 0) forget(entry);
    } else if (status.event == UL_EVENT_STOP) {
      /* A group-stop is the program's own affair: leave it stopped, as it would be without us. */
      if (is_stop_signal(status.signal)) ul_listen(entry->tid);
      else go_on(entry, 0);
    } else if (status.event == UL_EVENT_SYSTEM_CALL && entry->mode >= UL_ATTEND_FOLLOW &&
               entry->mode != UL_ATTEND_WATCH && (entry->mode != UL_ATTEND_GUARD || ul_is_guarded_call(entry->tid))) {
      hold(entry, &status);
    } else if (status.event == 0 && is_fault(status.signal) &&
               (entry->mode == UL_ATTEND_HOLD_FAULTS || entry->mode == UL_ATTEND_FOLLOW || entry->mode == UL_ATTEND_GUARD ||
                entry->mode == UL_ATTEND_WATCH)) {
      hold(entry, &status);
    } else {
      go_on(entry, status.event == 0 ? status.signal : 0);
    }
  }
}

static void serve_all(void) {
  for (int i = 0; i < attended_high; i++)
    if (attended[i].tid != 0) serve(&attended[i]);
}

/* ptrace(2) belongs to one thread, SIGCHLD and SIGALRM to the process: the kernel may choose any thread that does not
 * block them. Such a thread could take a stop from its wait queue and would be refused when it says PTRACE_CONT. */
static int pass_on(int number) {
  if (owner == 0 || (pid_t)syscall(SYS_gettid) == owner) return 0;
  syscall(SYS_tgkill, getpid(), owner, number);
  return 1;
}

static void on_child(int number) {
  int saved = errno;
  if (attended_count > 0 && !pass_on(number)) serve_all();
  errno = saved;
}

/* Both handlers look at the table, so neither may come while it changes. */
static sigset_t handled(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigaddset(&set, SIGALRM);
  return set;
}

static void block_handlers(sigset_t *old) {
  sigset_t set = handled();
  sigprocmask(SIG_BLOCK, &set, old);
}

int ul_finish_output(void) {
  if (fflush(stdout) != 0) return errno;
  return ferror(stdout) ? -1 : 0;
}

void ul_normalise_process(void) {
  sigset_t set = handled();
  for (int fd = 0; fd <= 2; fd++)
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0) _exit(126);
  sigprocmask(SIG_UNBLOCK, &set, NULL);
  signal(SIGCHLD, SIG_DFL); /* ignored, it would take every child's exit status away */
}

static void install(void) {
  static int installed;
  pid_t self = (pid_t)syscall(SYS_gettid);
  if (owner != self) {
    owner = self;
    prctl(PR_SET_TIMERSLACK, 1ul); /* short sleeps are to be short */
    sigset_t set; /* whoever made this thread may have left them blocked */
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGALRM);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
  }
  if (installed) return;
  installed = 1;
  struct sigaction action = {0};
  action.sa_handler = on_child;
  action.sa_mask = handled();
  action.sa_flags = SA_RESTART; /* not SA_NOCLDSTOP: ptrace stops are what it is for */
  sigaction(SIGCHLD, &action, NULL);
}

static struct attended *find(pid_t tid) {
  for (int i = 0; i < attended_high; i++)
    if (attended[i].tid == tid) return &attended[i];
  return NULL;
}

int ul_attend(pid_t tid, int mode) {
  install();
  sigset_t old;
  block_handlers(&old);
  int result = -EAGAIN;
  struct attended *entry = find(tid); /* one for each thread: a second would take the stops of a later session */
  for (int i = 0; !entry && i < UL_ATTEND_MAX; i++)
    if (attended[i].tid == 0) {
      entry = &attended[i];
      attended_count++;
      if (i >= attended_high) attended_high = i + 1;
    }
  if (entry) {
    entry->mode = mode;
    entry->held = 0;
    entry->tid = tid;
    serve(entry); /* it may have stopped before it was on the list */
    result = 0;
  }
  sigprocmask(SIG_SETMASK, &old, NULL);
  return result;
}

int ul_unattend(pid_t tid, struct ul_wait_status *held) {
  sigset_t old;
  int kind = UL_WAIT_NOTHING;
  *held = (struct ul_wait_status){0};
  block_handlers(&old);
  for (int i = 0; i < UL_ATTEND_MAX; i++) {
    if (attended[i].tid != tid) continue;
    if (attended[i].held) *held = attended[i].status;
    kind = held->kind;
    forget(&attended[i]);
    break;
  }
  sigprocmask(SIG_SETMASK, &old, NULL);
  return kind;
}

int ul_attended(pid_t tid, struct ul_wait_status *held) {
  *held = (struct ul_wait_status){0};
  for (int i = 0; i < attended_high; i++)
    if (attended[i].tid == tid && attended[i].held) {
      *held = attended[i].status;
      return held->kind;
    }
  return UL_WAIT_NOTHING;
}

void ul_attend_sleep(unsigned microseconds) {
  sigset_t old, during;
  block_handlers(&old);
  during = old;
  sigdelset(&during, SIGCHLD);
  if (!attendant_news) {
    struct timespec limit = {microseconds / 1000000, (long)(microseconds % 1000000) * 1000};
    ppoll(NULL, 0, &limit, &during);
  }
  attendant_news = 0;
  sigprocmask(SIG_SETMASK, &old, NULL);
}

static const pid_t *volatile reaped;
static volatile int reaped_count;

/* Stops stay where they are: WNOWAIT looks first. */
static void reap(pid_t tid) {
  siginfo_t info = {.si_pid = 0};
  if (waitid(P_PID, (id_t)tid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) || info.si_pid != tid) return;
  if (info.si_code == CLD_EXITED || info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED)
    waitpid(tid, NULL, __WALL | WNOHANG);
}

static volatile sig_atomic_t watching; /* how many want it: the stop of one thread may lie within that of the world */

static long microseconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Once only: a periodic timer whose handler takes longer than its period, with many threads or under strace(1), would leave
 * no time for what it watches. */
static void watch_after(long microseconds) {
  struct itimerval timer = {{0, 0}, {0, microseconds < 50000 ? microseconds : 50000}};
  setitimer(ITIMER_REAL, &timer, NULL);
}

static void on_alarm(int number) {
  int saved = errno;
  if (!pass_on(number)) {
    long began = microseconds_now();
    if (attended_count > 0) serve_all(); /* SIGCHLD is held back */
    for (int i = 0; i < reaped_count; i++) reap(reaped[i]);
    if (watching) watch_after(1000 + 8 * (microseconds_now() - began));
  }
  errno = saved;
}

/* Swift's runtime catches fatal signals and lets another program write a backtrace, for a second or more. A tool that holds
 * threads must not take that long to die: they stand still until it has. */
static void die_at_once(void) {
  static const int fatal[] = {SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV};
  static int done;
  if (done) return;
  done = 1;
  for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) {
    struct sigaction found;
    if (!sigaction(fatal[i], NULL, &found) && found.sa_handler != SIG_IGN) signal(fatal[i], SIG_DFL);
  }
}

long ul_seize_reaping(pid_t tid, const pid_t *held, int count) {
  die_at_once();
  reaped = held;
  reaped_count = count;
  long result = ul_seize(tid);
  reaped_count = 0;
  siginfo_t info;
  if (result >= 0 && waitid(P_PID, (id_t)tid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) && errno == ECHILD) return -ECHILD;
  return result;
}

static sigset_t before_watchdog;

void ul_watchdog_start(unsigned microseconds) {
  install();
  struct sigaction action = {0};
  action.sa_mask = handled();
  action.sa_handler = on_alarm; /* no SA_RESTART: interrupting is its purpose */
  sigaction(SIGALRM, &action, NULL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  if (watching == 0) sigprocmask(SIG_BLOCK, &set, &before_watchdog);
  watching = watching + 1;
  watch_after(microseconds < 10000 ? (long)microseconds + 1 : 10000);
}

void ul_watchdog_stop(void) {
  watching = watching - 1; /* before: an alarm that comes in between sets no other */
  if (watching > 0) return;
  struct itimerval none = {0};
  setitimer(ITIMER_REAL, &none, NULL);
  sigprocmask(SIG_SETMASK, &before_watchdog, NULL);
}
