"""What system calls of the tool can fail with, and what a tool that was refused one may say.

Only errors that a kernel really gives there. Left out is what cannot fail, and what nobody can do anything about:

  * waits that do not wait (WNOHANG), signal masks and handlers, timers that exist, descriptors that are closed: nothing but
    EINVAL and EFAULT, of a caller that is wrong itself;
  * PTRACE_CONT, PTRACE_SYSCALL, PTRACE_LISTEN, PTRACE_DETACH, PTRACE_SETOPTIONS, PTRACE_SETREGS and what else only looks at a
    stopped tracee: they fail with ESRCH when it was killed, and then there is nothing to be done for it; the kill sweep has
    that (`--how target`);
  * brk and mmap both for good: the Swift runtime ends a program that gets no memory, which is what the kill sweep is about.
"""

import errno
import os
import re

# Of system calls by name; those of ptrace(2) by request. The C library takes a break below the wanted one for a refusal.
ERRORS = {
    "openat": ["ENOENT", "EACCES", "EMFILE", "ENFILE", "ENOMEM", "EIO"],
    "read": ["EIO", "EINTR", "ENOMEM", "ESRCH"],
    "pread64": ["EIO", "ENOMEM"],
    "write": ["EPIPE", "ENOSPC", "EIO", "EINTR", "EAGAIN"],
    "pwrite64": ["EIO", "ENOMEM"],
    "getdents64": ["ENOENT", "ENOMEM", "EIO"],
    "readlink": ["ENOENT", "EACCES", "ENOMEM", "ESRCH"],
    "newfstatat": ["ENOENT", "EACCES", "ENOMEM", "EIO"],
    "stat": ["ENOENT", "EACCES", "ENOMEM", "EIO"],
    "fstat": ["EIO", "ENOMEM"],
    "lstat": ["ENOENT", "EACCES", "ENOMEM"],
    "statfs": ["ENOENT", "EACCES", "ENOMEM"],
    "access": ["ENOENT", "EACCES", "ENOMEM"],
    "fgetxattr": ["ENODATA", "EOPNOTSUPP", "EIO"],
    "getxattr": ["ENODATA", "EOPNOTSUPP", "EIO"],
    "mmap": ["ENOMEM", "EAGAIN", "ENFILE"],
    "mremap": ["ENOMEM"],
    "mprotect": ["ENOMEM"],
    "munmap": ["ENOMEM"],
    "madvise": ["ENOMEM", "EAGAIN"],
    "brk": ["retval=0"],
    "memfd_create": ["ENOMEM", "EMFILE", "ENFILE", "ENOSYS"],
    "ftruncate": ["ENOSPC", "EIO", "EINTR"],
    "ioctl": ["ENOTTY", "ESRCH", "ENOMEM"],
    "pidfd_open": ["ENOSYS", "EMFILE", "ENFILE", "ENOMEM", "EPERM"],
    "poll": ["EINTR", "ENOMEM"],
    "ppoll": ["EINTR", "ENOMEM"],
    "waitid": ["EINTR"],
    "clock_nanosleep": ["EINTR"],
    "timer_create": ["EAGAIN", "ENOMEM"],
    "sched_setscheduler": ["EPERM"],
    "prctl": ["EPERM", "EINVAL"],
    "kill": ["EPERM"],
    "process_vm_readv": ["ESRCH", "EFAULT", "ENOMEM", "EPERM", "ENOSYS"],
    "process_vm_writev": ["ESRCH", "EFAULT", "ENOMEM", "EPERM", "ENOSYS"],
    "PTRACE_SEIZE": ["EPERM", "ESRCH"],
    "PTRACE_GETREGS": ["ENOMEM"],
    "PTRACE_GETREGSET": ["ENOMEM"],
    "PTRACE_SETREGSET": ["ENOMEM"],
    "PTRACE_GET_SYSCALL_INFO": ["EIO"],
    "PTRACE_GET_RSEQ_CONFIGURATION": ["EIO"],
    "PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG": ["EIO"],
    "PTRACE_SECCOMP_GET_FILTER": ["EACCES", "ENOENT", "EINVAL"],
}

# Where one refusal is seldom the last: descriptors, memory, rights, a full disk.
LASTING = {"openat", "mmap", "process_vm_readv", "pwrite64", "write", "pidfd_open", "prctl", "timer_create", "sched_setscheduler",
           "ioctl", "statfs", "memfd_create"}

REQUESTS = {"0x420e": "PTRACE_GET_SYSCALL_INFO", "0x420f": "PTRACE_GET_RSEQ_CONFIGURATION",
            "0x4211": "PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG"}


def kind(line):
    """The key in ERRORS of a line that strace wrote."""
    call = re.match(r"(\w+)\(", line)
    if not call:
        return None
    if call[1] != "ptrace":
        return "a look" if "WNOHANG" in line else call[1]
    request = re.match(r"ptrace\((\w+)", line)[1]
    return REQUESTS.get(request, request)


def points(random, calls):
    """Of (name, count, line) makes (name, count, kind, error, lasting) for those that can fail."""
    found = []
    for name, count, line in calls:
        what = kind(line)
        if what in ERRORS:
            lasting = what in LASTING and random.random() < 0.3
            found.append((name, count, what, random.choice(ERRORS[what]), lasting))
    return found


def injection(point):
    name, count, _, error, lasting = point
    return f"inject={name}:{error if '=' in error else 'error=' + error}:when={count}" + ("+" if lasting else "")


def injected(log, point):
    """What was really refused; None: nothing, or a request that is none of ours to try (the tool's way differs a little from
    one run to the next)."""
    with open(log, encoding="utf-8", errors="replace") as file:
        kinds = {kind(line) for line in file if "(INJECTED)" in line}
    if not kinds:
        return None
    return kinds <= set(ERRORS)


# A failure is told by a stable code, by the words for an error number, or by Lua's for a module that is not there.
TOLD = re.compile(r"\[[a-z_]+\.[a-z_]+\]|\[usage\]|module '\S+' not found")
CRASH = re.compile(r"Fatal error|Swift runtime|Program crashed|attempt to |nil value|\.swift:\d|\(null\)")


def verdict(point, status, said):
    """What is wrong with the end of the tool, in words."""
    wrong = []
    if status is None:
        return ["the tool hangs: " + said[-1500:]]
    if status < 0:
        wrong.append(f"the tool was ended by signal {-status}: {said[-600:]}")
    if status not in range(6):
        wrong.append(f"status {status}: {said[-300:]}")
    # A part of the standard library that is not there is a member that is not there.
    if point[3] == "ENOENT" and "nil value (field" in said:
        return wrong
    told = TOLD.search(said) or os.strerror(getattr(errno, point[3], 0)) in said
    if CRASH.search(said):
        wrong.append(f"says {said[-600:]!r}")
    if status > 0 and point[0] != "write" and not told:
        wrong.append(f"fails without a code: {said[-300:]!r}")
    return wrong
