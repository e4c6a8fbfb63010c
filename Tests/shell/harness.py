"""Runs ulpsh from a pipe and from a terminal, in a home of its own. Needs nothing but Python."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ULPSH = os.environ.get("ULPSH", os.path.join(ROOT, ".build/debug/ulpsh"))
LIMIT = 300  # seconds after which a run counts as hung; generous, the machine may be busy

HOME = tempfile.mkdtemp(prefix="ulpsh-test-")
STATE, CONFIG = os.path.join(HOME, "state"), os.path.join(HOME, "config")


def environment(**more):
    env = {"PATH": os.environ["PATH"], "HOME": HOME, "TERM": "dumb", "LANG": "C.UTF-8", "INPUTRC": "/dev/null",
           "XDG_STATE_HOME": STATE, "XDG_CONFIG_HOME": CONFIG}
    env.update(more)
    return env


class Run:
    """A finished run: status (negative: the signal), out, err."""

    def __init__(self, *arguments, input=None, env=None, program=None, cwd=None):
        done = subprocess.run([program or ULPSH, *arguments], input=(input or "").encode(), capture_output=True,
                              env=env or environment(), timeout=LIMIT, cwd=cwd)
        self.status = done.returncode
        self.out = done.stdout.decode(errors="replace")
        self.err = done.stderr.decode(errors="replace")


def processor_time(pid):
    """Seconds of processor time that a child has used; it counts as endless when there is no such process any more."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return float("inf")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def interrupt_until(pid, interrupt, is_over):
    """Interrupts a child, and once more only when it has worked on for a second of processor time, so did not hear it: however
    little of the processor it gets, what it does about the first one is not interrupted by a second."""
    deadline, heard = time.monotonic() + LIMIT, -1
    while not is_over():
        assert time.monotonic() < deadline, "it was not interrupted"
        used = processor_time(pid)
        if used == float("inf") or used - heard < 1:
            time.sleep(0.01)
            continue
        heard = used
        interrupt()


class Terminal:
    """A shell on a pseudo terminal."""

    def __init__(self, *arguments, env=None):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(ULPSH, [ULPSH, *arguments], env or environment())
        self.seen = ""

    def read_until(self, pattern, limit=LIMIT):
        """What came up to and including the match; the rest stays for the next call."""
        deadline = time.monotonic() + limit
        while True:
            match = re.search(pattern, self.seen)
            if match:
                text, self.seen = self.seen[:match.end()], self.seen[match.end():]
                return text
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise AssertionError(f"waited in vain for {pattern!r} in {self.seen[-2000:]!r}")
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            if not data:
                raise AssertionError(f"ended while waiting for {pattern!r} in {self.seen[-2000:]!r}")
            self.seen += data.decode(errors="replace")

    def prompt(self):
        # readline prints the prompt after it has switched the terminal to raw mode: what is typed now is its own.
        return self.read_until(r"ulp> $")

    def send(self, text):
        os.write(self.fd, text.encode())

    def shows(self, pattern):
        """Whether it has come already."""
        while select.select([self.fd], [], [], 0)[0]:
            self.seen += os.read(self.fd, 65536).decode(errors="replace")
        return re.search(pattern, self.seen) is not None

    def interrupt(self):
        """Ctrl-C until the running statement ends; what is printed until the next prompt."""
        interrupt_until(self.pid, lambda: self.send("\x03"), lambda: self.shows(r"ulp> $"))
        return self.prompt()

    def complete_slowly(self, line, sign):
        """TAB after a line whose completion shows a sign and does not end: it is interrupted, and the line left."""
        self.send(line + "\t")
        self.read_until(sign)
        # Typed behind the interrupt, so it comes to the line only when the completion has ended.
        self.send("\x03")
        self.send("<")
        self.read_until("<")
        self.send("\x03")
        self.prompt()

    def enter(self, line):
        """Types a line and returns what is printed until the next prompt."""
        self.send(line + "\r")
        text = self.prompt()
        return text.split("\n", 1)[1] if "\n" in text else text

    def complete(self, line):
        """What the line becomes after TAB, typed and then abandoned."""
        self.send(line + "\t")
        self.send("\x05<")  # end of line, a mark
        text = self.read_until("<")
        self.send("\x03")
        self.prompt()
        return text[:-1]

    def end(self):
        """Waits for the end of the shell; its exit status, or minus the signal."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
            if select.select([self.fd], [], [], 0.02)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    time.sleep(0.01)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise AssertionError("the shell does not end")


tests = []


def test(function):
    tests.append(function)
    return function


def equal(found, expected):
    assert found == expected, f"expected {expected!r}, found {found!r}"


def contains(text, part):
    assert part in text, f"expected {part!r} in {text[-3000:]!r}"


def main():
    chosen = [t for t in tests if not sys.argv[1:] or any(word in t.__name__ for word in sys.argv[1:])]
    failed = 0
    print(f"1..{len(chosen)}")
    for number, function in enumerate(chosen, 1):
        try:
            function()
            print(f"ok {number} - {function.__name__}", flush=True)
        except Exception as problem:
            failed += 1
            print(f"not ok {number} - {function.__name__}", flush=True)
            lines = traceback.format_exc().splitlines() if not isinstance(problem, AssertionError) else str(problem).splitlines()
            for line in lines or ["?"]:
                print("# " + line)
    shutil.rmtree(HOME, ignore_errors=True)
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return 1 if failed else 0
