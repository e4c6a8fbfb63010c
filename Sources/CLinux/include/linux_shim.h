/* linux_shim.h: system calls that Swift cannot reach (variadic or absent from its Glibc module), with the semantics the
 * rest of the tool wants: the result is >= 0 or -errno. No policy, no allocation.
 *
 * Sources: ptrace(2), waitpid(2), process_vm_readv(2), pidfd_open(2), rseq(2), proc(5). */
#ifndef LINUX_SHIM_H
#define LINUX_SHIM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>
#include <sys/uio.h>
#include <sys/xattr.h>

/* A buffer of no bytes may be NULL; every other pointer must not. */
#pragma clang assume_nonnull begin

/* What a wait status says (waitpid(2)); `ul_wait` fills it. */
struct ul_wait_status {
  int32_t kind;     /* UL_WAIT_* */
  int32_t signal;   /* stop or terminating signal */
  int32_t event;    /* PTRACE_EVENT_*; PTRACE_EVENT_STOP is 128 */
  int32_t exit_code;
};
enum { UL_WAIT_NOTHING = 0, UL_WAIT_STOPPED = 1, UL_WAIT_EXITED = 2, UL_WAIT_KILLED = 3 };
enum { UL_EVENT_STOP = 128, UL_EVENT_SYSTEM_CALL = 255 /* ours: entry into or exit from a system call */ };

/* PTRACE_SEIZE with no options: the thread runs on. */
long ul_seize(pid_t tid);
/* The same beside threads that are seized already. A program that calls execve meanwhile ends its threads and waits for us
 * to collect them, and our request waits for the execve: so those of `held` that have ended are collected from SIGALRM's
 * handler (see ul_watchdog_start), in the middle of the request. -ECHILD: seized, but by then the thread had executed another
 * program and had become the leader of its process: it is traced under that number now. */
long ul_seize_reaping(pid_t tid, const pid_t *_Nullable held, int count);
long ul_interrupt(pid_t tid);
/* PTRACE_CONT, PTRACE_DETACH with a signal to deliver (0: none); PTRACE_LISTEN leaves a group-stop as it is. */
long ul_continue(pid_t tid, int signal);
long ul_detach(pid_t tid, int signal);
/* The same for one that is known not to stand in a system call. */
long ul_detach_at_once(pid_t tid, int signal);
long ul_listen(pid_t tid);
/* Runs on to the next entry into or exit from a system call; such stops have signal SIGTRAP | 0x80. */
long ul_continue_to_system_call(pid_t tid, int signal);
long ul_get_registers(pid_t tid, struct user_regs_struct *registers);
long ul_set_registers(pid_t tid, const struct user_regs_struct *registers);
/* The XSAVE image in standard form; returns its size in bytes. */
long ul_get_xstate(pid_t tid, void *_Nullable buffer, size_t size);
long ul_set_xstate(pid_t tid, const void *_Nullable buffer, size_t size);
/* Where in that image the state of AMX tiles (component 18) lies, and its size; 0 when the processor has none. */
size_t ul_xsave_tiles(size_t *start);
long ul_get_signal_mask(pid_t tid, uint64_t *mask);
long ul_set_signal_mask(pid_t tid, uint64_t mask);
/* The thread's registered rseq area, 0 if none (PTRACE_GET_RSEQ_CONFIGURATION, since Linux 5.13). */
long ul_get_rseq_area(pid_t tid, uint64_t *address);
/* The whole registration of the rseq area: address, size, signature, flags. All 0 if there is none. */
struct ul_rseq_registration { uint64_t address; uint32_t size, signature, flags, padding; };
long ul_get_rseq_registration(pid_t tid, struct ul_rseq_registration *registration);
/* 1 when system calls of the thread may be dispatched to a handler of its own (PR_SET_SYSCALL_USER_DISPATCH, prctl(2)), and where
 * the byte is that says whether they are: 0 lets them pass. 0 without that, and before Linux 6.4, which does not tell. */
int ul_get_dispatch_selector(pid_t tid, uint64_t *_Nonnull address);
/* Head of the thread's list of robust futexes, and its size, two words (get_robust_list(2)). */
long ul_get_robust_list(pid_t tid, uint64_t *_Nonnull head_and_size);
/* The queue of pending signals of a stopped thread, or of its process if `shared`: how many entries of each number, in
 * `counts[signal]`, UL_SIGNALS words. PTRACE_PEEKSIGINFO. */
enum { UL_SIGNALS = 65 };
long ul_get_pending_signals(pid_t tid, int shared, uint32_t *_Nonnull counts);
/* The system call a thread is stopped at, PTRACE_GET_SYSCALL_INFO (since Linux 5.3). `result` is valid at an exit. */
struct ul_system_call {
  uint32_t is_entry, is_exit;
  uint64_t instruction_pointer, stack_pointer;
  uint64_t number, arguments[6]; /* valid at an entry */
  int64_t result;                /* valid at an exit */
};
long ul_get_system_call(pid_t tid, struct ul_system_call *call);
/* How many requests of ptrace(2) and writes into other processes' memory this program has made: what only reads makes none. */
uint64_t ul_touches(void);
/* Whether receipts are wanted: off unless switched on. */
int ul_receipts(void);
void ul_set_receipts(int on);
/* si_signo, si_code and si_addr of the signal a thread is stopped with. */
long ul_get_signal_info(pid_t tid, int *number, int *code, uint64_t *address);
/* Where a thread is as long as it works for us: its program counter in the text, or its stack pointer in the stack. */
struct ul_workplace {
  uint64_t text_start, text_end, stack_bottom, stack_top;
};

/* Suspends the seccomp filters of a stopped thread (PTRACE_O_SUSPEND_SECCOMP) for as long as it works for us: from then on it
 * goes from system call to system call, and gets the filters back before the first that is its own. They are back at once
 * when it is detached, or its tracer dies. One thread at a time. -EPERM without CAP_SYS_ADMIN, or under a filter ourselves. */
long ul_suspend_seccomp(pid_t tid, struct ul_workplace workplace);
/* Gives a stopped thread its filters back. */
void ul_restore_seccomp(pid_t tid);
int ul_is_seccomp_suspended(pid_t tid);

/* One classic BPF filter of the thread (PTRACE_SECCOMP_GET_FILTER); returns the number of 8-byte instructions. */
long ul_get_seccomp_filter(pid_t tid, unsigned index, void *_Nullable buffer, size_t capacity);
/* What a filter of `count` instructions (each a struct sock_filter) answers to a system call with six arguments
 * (SECCOMP_RET_*, seccomp(2)), and whether that lets the call pass. */
uint32_t ul_seccomp_answer(const uint64_t *_Nonnull program, size_t count, uint32_t number, const uint64_t *_Nonnull arguments);
int ul_seccomp_allows(uint32_t answer);
/* A thread that was stopped in nanosleep, clock_nanosleep, poll or a timed futex goes on by restart_syscall(2), which hardly
 * an author of filters thinks of: with one that forbids it, the mere stop would end the program. 1 when `registers` are those
 * of such a thread, and then they are changed: it issues its own call again. A sleep that tells the rest goes on with that;
 * other timeouts begin again, as nobody tells how much is left of them. Continuing a thread by what is above does this by itself. */
int ul_spare_restart(pid_t tid, struct user_regs_struct *registers);
/* The kernel has written the rest of an interrupted sleep to where its caller wanted it (nanosleep(2)): that is what is to be slept
 * when it is issued again. */
void ul_take_rest(struct user_regs_struct *registers);
/* For a thread that is stopped in a wait of which the kernel has notes: 1, and with `registers` it issues its call again, without
 * them. 0 when it is in no such wait, or nobody tells in which. */
int ul_reissue_wait(pid_t tid, struct user_regs_struct *registers);
/* Until it is told otherwise (tid 0), looks at each system call at which ul_continue_to_system_call finds this thread. Before the
 * first that takes the kernel's notes of another wait away, the words are written into the thread's memory, in their order. */
struct ul_word {
  uint64_t address, value;
};
void ul_keep_wait(pid_t tid, const struct ul_word *_Nullable words, int count);
/* Whether that has happened, and what was written to an address then. */
int ul_is_wait_lost(pid_t tid);
int ul_lost_word(pid_t tid, uint64_t address, uint64_t *_Nonnull value);
/* Called where a thread goes on to its next system call. */
void ul_watch_wait(pid_t tid);
/* Whether a call that answers EINTR to a stop has no effect when it does, so that it may be issued again. Never close(2) and its
 * like. */
int ul_is_repeatable_call(long number);
/* For a thread that is stopped with `signal`, or because we asked (SIGTRAP), and only then: when the signal is one that the
 * program ignores, it has come to the thread only because that is traced, and must not end its call with EINTR. The kernel decides: where a handler runs, there is one. The
 * signals that stop a process end such calls without us as well. */
void ul_spare_interruption(pid_t tid, int signal);
long ul_poke(pid_t tid, uint64_t address, uint64_t word);
/* 1 when a signal that the thread does not block waits for it or for its process (PTRACE_PEEKSIGINFO). */
int ul_has_pending_signal(pid_t tid);

/* Waits for one thread, never for any. `block` 0: returns at once with UL_WAIT_NOTHING. EINTR is returned as such. */
long ul_wait(pid_t tid, int block, struct ul_wait_status *status);
/* The same, blocking; but a stop that PTRACE_INTERRUPT asked for stays to be collected. The thread stands and can be looked at:
 * whoever has to mend its registers before anything else loses no time.
 * `is_likely`: it may well stand already, and not in a call that has to be mended. */
long ul_wait_leaving_stop(pid_t tid, int is_likely, struct ul_wait_status *status);
/* Collects such a stop; of a thread that has been killed since, nothing. */
void ul_collect_stop(pid_t tid);

/* A mapping with code (proc(5), /proc/PID/maps). */
struct ul_code_mapping {
  uint64_t start, end, offset, inode;
  uint32_t major, minor;
};

/* The mappings with code, in ascending order, at most `most`; how many. -ENOTTY before Linux 6.11. */
long ul_code_mappings(pid_t pid, struct ul_code_mapping *mappings, int most);

/* Copies between processes without stopping them. Partial copies are reported by the returned count. */
long ul_vm_read(pid_t pid, void *_Nullable local, uint64_t remote, size_t count);
/* `count` bytes from each of `pieces` (at most UL_VM_PIECES) addresses, one after the other. */
enum { UL_VM_PIECES = 1024 /* IOV_MAX */ };
long ul_vm_read_pieces(pid_t pid, void *_Nullable local, const uint64_t *addresses, int pieces, size_t count);
long ul_vm_write(pid_t pid, const void *_Nullable local, uint64_t remote, size_t count);
/* Forced write through an open /proc/PID/mem: works on read-only text (a private copy of the page is made). */
long ul_mem_write(int fd, const void *_Nullable local, uint64_t remote, size_t count);

long ul_pidfd_open(pid_t pid);
/* 1 when the process behind the pidfd has ended. */
int ul_pidfd_ended(int fd);
long ul_getdents(int fd, void *_Nullable buffer, size_t size);
/* Whether proc(5) is mounted at a path (statfs(2)). */
int ul_is_proc(const char *path);
uint64_t ul_monotonic_ns(void);
/* The beginning of /proc/TID/status as a string, by async-signal-safe calls only; 0 when it cannot be read. */
int ul_read_status(pid_t tid, char *text, size_t size);
/* The calling thread: what TracerPid names, and ptrace belongs to. */
pid_t ul_thread_id(void);
/* A memory file with a copy of our own vDSO, which is every process's vDSO on this kernel; the caller closes it. */
int ul_vdso_descriptor(void);

/* Fault injection for the kill tests: with ULPSH_DIE_AT=N in the environment the N-th step that touches a target
 * (each ptrace request and each write) is replaced by SIGKILL to ourselves. Returns the number of steps so far. */
uint64_t ul_step(void);
uint64_t ul_step_count(void);
/* Before each step `observe` is called with its number: for tests of the order of steps. NULL ends it. */
void ul_observe_steps(void (*_Nullable observe)(uint64_t step));

/* What a program cannot rely on at its start: descriptors 0 to 2 that are open (else a target's memory could become standard
 * output), children that can be collected, and the signals that this program needs. */
void ul_normalise_process(void);

/* Writes out what the C library still holds for standard output. Returns 0, the errno of a failure, or -1 after an
 * earlier one, whose errno nobody has kept. */
int ul_finish_output(void);

/* The attendant: while a thread is seized and running, its signal stops must be served at once, whatever this program is
 * doing meanwhile (a Lua statement, the prompt). SIGCHLD's handler does it for the threads given to it, on the one thread
 * that owns them: where a library or a test has started other threads, the handler passes the signal on. A synchronous
 * fault of a thread attended with `hold_faults` is kept for the caller. */
enum { UL_ATTEND_MAX = 32768 };
enum {
  UL_ATTEND_SERVE = 0,
  UL_ATTEND_HOLD_FAULTS = 1,
  UL_ATTEND_LET_GO = 2,      /* detach at its first stop */
  UL_ATTEND_FOLLOW = 3,      /* hold faults and every entry into and exit from a system call */
  UL_ATTEND_FOLLOW_HOME = 4, /* the same, but faults are the program's again */
  UL_ATTEND_GUARD = 5,       /* hold faults and every entry into a guarded system call */
  UL_ATTEND_WATCH = 6,       /* hold faults; system calls are only looked at (ul_keep_wait) */
};
/* Where the guarded callee works, and the stack that its thread was borrowed from (0, 0: not known). */
void ul_set_callee(struct ul_workplace workplace, uint64_t home_start, uint64_t home_end);
/* Whether a thread that is stopped at a system call is on its way into one with which a callee would harm its program: it
 * ends the thread or the program, executes another program, or sends a signal. Or whether it makes any system call from
 * the stack that it was borrowed from: it has left its callee by a jump. */
int ul_is_guarded_call(pid_t tid);
int ul_attend(pid_t tid, int mode);
/* Takes a thread back; afterwards the caller waits for it itself. Returns UL_WAIT_* of what was held or seen last. */
int ul_unattend(pid_t tid, struct ul_wait_status *held);
/* What is known of an attended thread: UL_WAIT_NOTHING while it runs. */
int ul_attended(pid_t tid, struct ul_wait_status *held);
/* Sleeps at most `microseconds`, or until an attended thread reported something. */
void ul_attend_sleep(unsigned microseconds);

/* Bounds blocking waits: after `microseconds`, or 10 ms if that is sooner, SIGALRM interrupts them with EINTR, again every
 * millisecond, so that a wait entered late is interrupted too. SIGCHLD is held back meanwhile: the caller waits for each
 * thread itself. */
void ul_watchdog_start(unsigned microseconds);
void ul_watchdog_stop(void);

/* Real-time priority, where the caller may have it, for as long as one of the reasons holds: while threads stand still, or
 * one is borrowed, nobody else's work should come before ours. On a kernel whose scheduler had been seen to leave a tool
 * without a processor for seconds beside busy threads, that is what bounds a stop. 1: begin (returns 1 when granted), 0: the
 * reason is over. sched_setscheduler(2). */
enum { UL_URGENT_WORLD = 1, UL_URGENT_CALL = 2, UL_URGENT_CHANGE = 4 };
int ul_urgent(int reason, int begin);

/* Real-time priority, where the caller may have it, for one change from its plan to its end: beside dozens of busy threads each
 * millisecond of the tool's own work would else wait a tenth of a second for its turn. It lasts for a second of processor time
 * at most. When the change is over it lasts for ten milliseconds more: coming back among ordinary programs is what the
 * scheduler may take long about, and a program that ends soon need not. 1: begin, 0: end; returns how it was. Children do not
 * inherit it. SIGPROF is used. sched_setscheduler(2), timer_create(2). */
int ul_hasten(int begin);

#pragma clang assume_nonnull end

#endif
