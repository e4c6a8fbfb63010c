/* linux_spawn.h: starting a child and talking to it. What lies between fork and exec must be C: only async-signal-safe
 * calls are allowed there, and Swift promises none. Every function returns a value >= 0, or -errno. */
#ifndef LINUX_SPAWN_H
#define LINUX_SPAWN_H

#include <stddef.h>
#include <sys/types.h>

struct linux_spawn_request {
  const char *_Nonnull path; /* of the program, as execve(2) takes it */
  char *_Nullable const *_Nonnull argv;
  char *_Nullable const *_Nonnull envp;
  const char *_Nullable directory;
  int input, output, error; /* become the child's 0, 1 and 2 */
  int terminal;             /* nonzero: `input` is a terminal and becomes the controlling one */
};

/* Starts a child in a session of its own, with default signal actions, no signal blocked, no other descriptor inherited,
 * and SIGKILL to come when the calling thread ends. Returns its PID once the program has been executed. */
pid_t linux_spawn(const struct linux_spawn_request *_Nonnull request);

/* A copy of this program that does a part of its work: 0 in the copy, whose output goes to a memory file; its PID in the
 * original, with that file in *output. SIGKILL comes to the copy when the calling thread ends. For a program of one thread. */
pid_t linux_fork_worker(int *_Nonnull output);

/* Ends the copy; 255 if its output could not be written. */
_Noreturn void linux_end_worker(int status);

/* Processors that this program may run on. */
int linux_processors(void);

/* A new pseudo terminal that neither echoes nor translates line ends: what goes in is what comes out. Both close-on-exec. */
int linux_open_terminal(int *_Nonnull controller, int *_Nonnull terminal);

/* A close-on-exec pipe; ends[0] is for reading. */
int linux_pipe(int ends[_Nonnull 2]);

/* write(2) without SIGPIPE: a reader that is gone is -EPIPE and nothing else. */
ssize_t linux_write_quietly(int fd, const void *_Nonnull bytes, size_t count);

/* Orphaned descendants of this process become its own children instead of init's. */
int linux_adopt_orphans(void);

/* pidfd_open(2). */
int linux_pidfd_open(pid_t pid);

/* The exit of child `pid`, if it has ended: 1 with *code as the exit code, 2 with *code as the signal's number, 0 if it has
 * not ended, -ECHILD if somebody else has collected it. */
int linux_collect_child(pid_t pid, int *_Nonnull code);

#endif
