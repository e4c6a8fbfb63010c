"""A target of the sweep, and what can be seen of it without ulpsh: what it says of itself, and what /proc says."""

import ctypes
import glob
import os
import select
import signal
import subprocess
import time


def die_with_parent():
    """A sweep that is killed leaves no busy target behind: prctl(PR_SET_PDEATHSIG, SIGKILL)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Lost(Exception):
    """The target does not answer any more."""


class Target:
    def __init__(self, program, threads, runtime):
        environment = dict(os.environ, LD_PRELOAD=runtime)
        self.threads = threads
        self.child = subprocess.Popen(
            [program, str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, preexec_fn=die_with_parent)
        self.pid = self.child.pid
        self.signals = 0
        self.rest = b""
        self.expect("ready")
        self.seen = self.tell()

    def close(self):
        self.child.kill()
        self.child.wait()
        self.child.stdin.close()
        self.child.stdout.close()

    def expect(self, start, seconds=30):
        deadline = time.monotonic() + seconds
        while True:
            while b"\n" in self.rest:
                line, self.rest = self.rest.split(b"\n", 1)
                text = line.decode()
                if text.startswith(start):
                    return text
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.child.stdout], [], [], left)[0]:
                raise Lost(f"no answer '{start}' in {seconds} s")
            got = os.read(self.child.stdout.fileno(), 4096)
            if not got:
                raise Lost(f"ended with {self.child.wait()}")
            self.rest += got

    def ask(self, word):
        try:
            self.child.stdin.write(word.encode() + b"\n")
            self.child.stdin.flush()
        except OSError as error:
            raise Lost(f"ended with {self.child.wait()}") from error
        return self.expect(word)

    def now(self):
        return self.ask("now").split()[1].rstrip(".")

    def tell(self):
        words = self.ask("tell").rstrip(".").split()[1:]
        return {name: int(value) for name, value in (word.split("=") for word in words)}

    def send_signals(self, count):
        """Real-time signals, which are queued and may not be lost."""
        for _ in range(count):
            os.kill(self.pid, signal.SIGRTMIN)
        self.signals += count

    def harm(self):
        """Threads that are stopped or traced, in words; a busy machine is given two seconds."""
        deadline = time.monotonic() + 2
        while True:
            found = []
            for path in glob.glob(f"/proc/{self.pid}/task/*/status"):
                try:
                    with open(path, encoding="utf-8", errors="replace") as file:
                        fields = dict(line.split(":", 1) for line in file if ":" in line)
                except OSError:
                    continue
                tid = path.split("/")[4]
                if fields["State"].split()[0] in "tT":
                    found.append(f"stopped: thread {tid} {fields['State'].strip()}")
                if fields["TracerPid"].strip() != "0":
                    found.append(f"traced: thread {tid} by {fields['TracerPid'].strip()}")
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.01)

    def holdings(self, own):
        """Mapped files but those of the containers, descriptors, number of threads; and copies of containers, anonymous KiB."""
        files, copies, anonymous = [], 0, 0
        with open(f"/proc/{self.pid}/maps", encoding="utf-8", errors="replace") as file:
            for line in file:
                fields = line.split(maxsplit=5)
                start, end = (int(word, 16) for word in fields[0].split("-"))
                path = fields[5].strip() if len(fields) > 5 else ""
                if path.startswith(own):
                    copies += fields[1] == "r-xp"
                elif path.startswith("/"):
                    files.append((path, fields[1], end - start))
                else:
                    anonymous += (end - start) // 1024
        descriptors = sorted(
            (int(number), os.readlink(f"/proc/{self.pid}/fd/{number}")) for number in os.listdir(f"/proc/{self.pid}/fd"))
        threads = len(os.listdir(f"/proc/{self.pid}/task"))
        return (files, descriptors, threads), copies, anonymous
