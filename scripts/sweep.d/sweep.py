"""The kill sweep; see scripts/sweep."""

import argparse
import collections
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import errors
import operations
from target import Lost, Target

OPERATION_AFTER = {name: operation[1] for name, operation in operations.OPERATIONS.items()}
COLUMNS = ["of", "points", "hit", "said", "dead", "stopped", "traced", "wrong", "half", "signals", "EINTR", "recovery", "left", "again"]
# Refusals that only say that the target got no processor in five seconds, or has not yet come back from a dead tool's call.
PASSING = ("[carrier.none]", "[process.unstoppable]", "[operation.busy]", "[call.busy]", "[call.timeout]")
BAD = ["said", "dead", "stopped", "traced", "wrong", "half", "signals", "recovery", "left"]


def statement(name):
    """What the tool that is to be killed runs: an operation is an expression."""
    return f"local result = {operations.OPERATIONS[name][2]}"


def told(name):
    """The same, and it says what came of it."""
    return f"print(({operations.OPERATIONS[name][2]}).state)"


class Sweep:
    def __init__(self, options):
        self.options = options
        self.tool = options.tool
        self.directory = tempfile.mkdtemp(prefix="ulpsh-sweep-")
        self.runtime = self.output("print(ulp.core.runtime_path)")
        self.containers = operations.pack(self.tool, options.targets, self.directory)
        self.rows = collections.OrderedDict()
        self.random = random.Random(options.seed)
        self.target = None
        self.rest = None
        self.row = collections.Counter()

    # The tool

    def output(self, code):
        return subprocess.run([self.tool, "-e", code], check=True, stdout=subprocess.PIPE, timeout=60).stdout.decode().strip()

    def program(self, body):
        return [self.tool, "-e", operations.script(self.target.pid, self.containers, body)]

    def start(self, command, environment=None):
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=dict(os.environ, **(environment or {})), start_new_session=True)

    def finish(self, child, seconds=60):
        """Exit status (negative: signal) and what it said; None when it hangs."""
        try:
            said = child.communicate(timeout=seconds)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            # Under strace the tool is a child of that, and gdb cannot have it.
            where = subprocess.run(
                f"gdb -p {child.pid} -batch -ex bt 2>/dev/null;"
                f"for pid in {child.pid} $(cat /proc/{child.pid}/task/{child.pid}/children); do"
                f" grep -h State /proc/$pid/status; cat /proc/$pid/wchan /proc/$pid/syscall; done; grep State /proc/{self.target.pid}/task/*/status",
                shell=True, check=False, stdout=subprocess.PIPE).stdout.decode(errors="replace")
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            return None, "hangs at\n" + where
        return child.returncode, said

    def insist(self, body):
        """Runs a program, again when it is refused for a passing reason; how often is told in the column `again`."""
        for _ in range(5):
            status, said = self.finish(self.start(self.program(body)))
            if status == 0 or not any(code in said for code in PASSING):
                break
            self.row["again"] += 1
        return status, said

    # Points

    def calls(self, body):
        """The system calls of one run from the first that concerns the target on: (name, how often it came until then, the
        line)."""
        log = f"{self.directory}/strace"
        self.finish(self.start(["strace", "-o", log, *self.program(body)]))
        points, counts, begun = [], collections.Counter(), False
        with open(log, encoding="utf-8", errors="replace") as file:
            for line in file:
                found = re.match(r"(\w+)\(", line)
                if not found:
                    continue
                counts[found[1]] += 1
                begun = begun or f"/proc/{self.target.pid}" in line
                if begun and found[1] != "exit_group":
                    points.append((found[1], counts[found[1]], line))
        return points

    def steps(self, body, name=None):
        """How many ptrace requests and writes one run makes: the first place behind the last is survived."""
        low, high = 0, 64

        def survived(place):
            if name == "recover":
                self.prepare(name)
            else:
                self.set_state(self.before)
            return self.finish(self.start(self.program(body), {"ULPSH_DIE_AT": str(place)}))[0] == 0
        while not survived(high):
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            if survived(middle):
                high = middle
            else:
                low = middle
        return list(range(1, high))

    def sample(self, points):
        count = self.options.sample
        if not count or len(points) <= count:
            return points
        return [points[index] for index in sorted(self.random.sample(range(len(points)), count))]

    # The target

    def renew(self, threads):
        if self.target:
            self.target.close()
        self.target = Target(f"{self.options.targets}/endurer", threads, self.runtime)
        # What the first change leaves for good (the loader's own tables, the allocator's area) is no leftover.
        self.set_state("111")
        self.set_state("000")
        self.rest = self.target.holdings(self.directory)[0]

    def set_state(self, version):
        status, said = self.insist(operations.SET_STATE + f'set_state "{version}"')
        if status != 0:
            raise Lost(f"cannot be brought into {version}: {said}")

    def look(self, row, where, before, after):
        """Everything that can be seen of the target after a kill; what is wrong, in words."""
        target, wrong = self.target, []
        if target.child.poll() is not None:
            row["dead"] += 1
            return [f"ended with {target.child.returncode}"]
        for word in ("stopped", "traced"):
            if any(found.startswith(word) for found in target.harm()):
                row[word] += 1
                wrong += target.harm()
        version = target.now()
        if version not in (before, after):
            row["half"] += 1
            wrong.append(f"serves {version}, neither {before} nor {after}")
        return wrong + self.tally(row, where)

    def tally(self, row, where):
        target, wrong = self.target, []
        target.ask("mark")
        deadline = time.monotonic() + 30
        told = target.tell()
        while time.monotonic() < deadline and (told["idle"] or told["signals"] < target.signals):
            time.sleep(0.01)
            told = target.tell()
        for name in ("wrong", "registers", "broken", "failed"):
            if told[name] != target.seen[name]:
                wrong.append(f"{name}: {told[name] - target.seen[name]}")
        if wrong or told["idle"]:
            row["wrong"] += 1
            if told["idle"]:
                wrong.append(f"{told['idle']} threads do not go on")
        if told["signals"] != target.signals:
            row["signals"] += 1
            wrong.append(f"signals: {told['signals']} of {target.signals}")
            target.signals = told["signals"]
        row["EINTR"] += told["eintr"] != target.seen["eintr"]
        target.seen = told
        return wrong

    def afterwards(self, row, name, before, after):
        """The next command recovers and works, and nothing is left when all is as at the begin."""
        body = operations.OPERATIONS[name][2]
        status, said = self.insist(f"print(({body}).state)")
        wrong = []
        if status != 0 or said.split()[-1:] not in (["done"], ["already"]):
            row["recovery"] += 1
            wrong.append(f"the next {name} says {said.strip()[-300:]} (status {status})")
        elif name != "recover" and self.target.now() != after:
            row["recovery"] += 1
            wrong.append(f"after the next {name} it serves {self.target.now()}, not {after}")
        self.set_state("000")
        found, copies, _ = self.target.holdings(self.directory)
        if found != self.rest or copies > len(self.containers):
            row["left"] += 1
            wrong.append(f"left behind: {[part for part in found if part not in self.rest]}, {copies} containers")
        if before not in ("000", None):
            self.set_state(before)
        return wrong

    # One point

    def kill_at(self, how, signal_name, body, point):
        """Runs the operation with a tool that ends at the point. True when it did not come to its own end."""
        command = self.program(body)
        if how == "step":
            status, said = self.finish(self.start(command, {"ULPSH_DIE_AT": str(point)}))
        elif how == "call":
            inject = f"inject={point[0]}:signal={signal_name}:when={point[1]}"
            status, said = self.finish(self.start(["strace", "-o", "/dev/null", "-e", "trace=" + point[0], "-e", inject, *command]))
        elif how == "target":
            return self.kill_target(command, point)
        if status is None:
            raise Lost(f"the tool hangs at {point}")
        del said
        return status != 0

    def fail_at(self, row, name, point, before, after):
        """Runs the operation with a system call that fails. Whether one did, and what is wrong with what the tool says."""
        log = f"{self.directory}/injected"
        inject = errors.injection(point)
        status, said = self.finish(self.start(["strace", "-o", log, "-e", "trace=" + point[0], "-e", inject, *self.program(told(name))]))
        hit = errors.injected(log, point)
        if hit is False:
            self.renew(self.target.threads)
            self.set_state(before or "000")
            return False, []
        wrong = errors.verdict(point, status, said)
        if not wrong and point[2] != "write":
            wrong = self.compare(name, status, said.split()[-1:], before, after)
        row["said"] += bool(wrong)
        return bool(hit), wrong

    def compare(self, name, status, state, before, after):
        """Whether the target is as the result says."""
        version = self.target.now()
        if state == ["failed"]:
            status = 1
        if status == 0 and state not in (["done"], ["already"]):
            return [f"succeeds with {state}"]
        if status == 0 and version != after:
            return [f"says {state[0]} and serves {version}"]
        # The steps of `unload` are told one by one, and what it raises may come after the switch.
        if status != 0 and version != before and name != "unload":
            return [f"says that it failed and serves {version}"]
        return []

    def kill_target(self, command, point):
        """Stops the tool at a system call, kills the target, and lets the tool go on: it must end with an answer."""
        inject = f"inject={point[0]}:signal=SIGSTOP:when={point[1]}"
        log = f"{self.directory}/stop"
        open(log, "w", encoding="utf-8").close()
        child = self.start(["strace", "-o", log, "-e", "trace=" + point[0], "-e", inject, *command])
        deadline, tool = time.monotonic() + 30, None
        while time.monotonic() < deadline and child.poll() is None and not tool:
            time.sleep(0.005)
            with open(log, encoding="utf-8", errors="replace") as file:
                if "--- stopped by SIGSTOP ---" not in file.read():
                    continue
            with open(f"/proc/{child.pid}/task/{child.pid}/children", encoding="utf-8") as file:
                tool = int(file.read().split()[0])
        self.target.child.kill()
        if tool:
            os.kill(tool, signal.SIGCONT)
        status, said = self.finish(child, 30)
        ended = self.target.child.wait(10)
        if status is None or status < 0 or ended != -signal.SIGKILL:
            raise Lost(f"the tool ended with {status}, the target with {ended}: {said[-300:]}")
        return tool is not None

    def point(self, row, how, signal_name, name, threads, point, before, after):
        """Returns whether the target is still good for the next point."""
        where = f"{name}, {threads} threads, {how} {point}, {signal_name}"
        row["points"] += 1
        try:
            self.prepare(name)
            if how != "target" and self.random.random() < 0.5:
                self.target.send_signals(5)
            if how == "error":
                hit, wrong = self.fail_at(row, name, point, before, after)
            else:
                hit, wrong = self.kill_at(how, signal_name, statement(name), point), []
            row["hit"] += hit
            if how == "target":
                self.renew(threads)
                self.set_state(before)
                return hit
            spared = row["EINTR"]
            wrong += self.look(row, where, before, after)
            # Only a tool that is killed may leave one, as before each recovery, and one that cannot read the registers.
            if how == "error" and name != "recover" and row["EINTR"] != spared and point[2] != "PTRACE_GETREGS":
                row["said"] += 1
                wrong.append("a call saw an EINTR")
            wrong += self.afterwards(row, name, before, after)
        except (Lost, OSError) as error:
            row["recovery" if self.target.child.poll() is None else "dead"] += 1
            wrong, hit = [str(error)], True
        if wrong:
            print(f"BAD {where}: " + "; ".join(wrong), flush=True)
            self.renew(threads)
            self.set_state(before or "000")
        return hit

    # Recovery has something to recover

    def prepare(self, name):
        if name != "recover":
            return
        for attempt in range(20):
            self.die_applying(self.places[attempt % len(self.places)])
            if self.output(operations.script(self.target.pid, self.containers, "print(p:runtime():state())")).split()[0] == self.leftover:
                return
            self.set_state("000")
        raise Lost(f"no state {self.leftover} at steps {self.places}")

    def die_applying(self, place):
        self.finish(self.start(self.program(operations.OPERATIONS["apply"][2]), {"ULPSH_DIE_AT": str(place)}))

    def leftovers(self):
        """At which steps of an apply a tool must die to leave each state, those in the middle first: how many steps come
        before differs a little from one apply to the next."""
        self.before = "000"
        places = {}
        for place in self.steps(operations.OPERATIONS["apply"][2]):
            self.set_state("000")
            self.die_applying(place)
            found = self.output(operations.script(self.target.pid, self.containers, "print(p:runtime():state())")).split()[0]
            places.setdefault(found, []).append(place)
        places.pop("idle", None)
        return {state: sorted(found, key=lambda place: abs(place - found[len(found) // 2])) for state, found in places.items()}

    # All of it

    def run(self):
        for threads in self.options.threads:
            for name in self.options.operation:
                for how in self.options.how:
                    signals = self.options.signal if how in ("call", "random") else ["-" if how == "error" else "SIGKILL"]
                    for signal_name in signals:
                        self.run_one(threads, name, how, signal_name)
        self.target.close()

    def run_one(self, threads, name, how, signal_name):
        if how == "random":
            if name in ("apply", "set"):
                self.run_random(threads, name, signal_name)
            return
        self.renew(threads)
        if name == "recover":
            for state, places in self.leftovers().items():
                self.leftover, self.places = state, places
                version = "010" if state in ("committed", "settling") else "000"
                self.run_points(threads, name, how, signal_name, version, version, f"recover {state}")
        else:
            before, after, _ = operations.OPERATIONS[name]
            self.set_state(before)
            self.run_points(threads, name, how, signal_name, before, after, name)

    # Random moments

    LOOP = """
      for _, patch in ipairs(ulp.patches(p)) do if patch.applied then ulp.revert(p, patch.id) end end
      print "go" io.stdout:flush()
      while true do %s end"""

    def run_random(self, threads, name, signal_name):
        """A tool that changes the target all the time is killed after up to 20 ms of it; the next one must recover and go on."""
        there, back = {"apply": ("D", "D"), "set": ("{M, D, V1}", "{M, D, V1}")}[name]
        body = self.LOOP % f"ulp.trigger(p, {there}) ulp.revert(p, {back})"
        row = self.row = self.rows[(name, threads, "random", signal_name)] = collections.Counter()
        began = time.monotonic()
        self.renew(threads)
        for number in range(self.options.random):
            row["points"] += 1
            if number % 500 == 499:
                print(self.line((name, threads, "random", signal_name), row) + f"  {time.monotonic() - began:.0f} s", flush=True)
            try:
                wrong = self.random_kill(row, signal_name, body, OPERATION_AFTER[name])
                if number % 100 == 99:
                    self.set_state("000")
                    found, copies, _ = self.target.holdings(self.directory)
                    if found != self.rest or copies > len(self.containers):
                        row["left"] += 1
                        wrong.append(f"left behind: {[part for part in found if part not in self.rest]}, {copies} containers")
            except (Lost, OSError) as error:
                row["recovery" if self.target.child.poll() is None else "dead"] += 1
                wrong = [str(error)]
            if wrong:
                print(f"BAD random {number}: " + "; ".join(wrong), flush=True)
                self.renew(threads)
        print(self.line((name, threads, "random", signal_name), row) + f"  {time.monotonic() - began:.0f} s", flush=True)

    def random_kill(self, row, signal_name, body, after, attempts=4):
        child = self.start(self.program(body))
        said = b""
        deadline = time.monotonic() + 60
        while not said.endswith(b"go\n"):
            ready = select.select([child.stdout], [], [], max(0, deadline - time.monotonic()))[0]
            got = os.read(child.stdout.fileno(), 4096) if ready else b""
            if not got:
                status, rest = self.finish(child, 1)
                refusal = said.decode(errors="replace") + rest
                if attempts and any(code in refusal for code in PASSING):
                    row["again"] += 1
                    return self.random_kill(row, signal_name, body, after, attempts - 1)
                raise Lost(f"the next tool does not come to work (status {status}): {refusal[-400:]}")
            said += got
        if self.random.random() < 0.3:
            self.target.send_signals(3)
        time.sleep(self.random.uniform(0, 0.02))
        child.send_signal(getattr(signal, signal_name))
        status, rest = self.finish(child)
        row["hit"] += status == -getattr(signal, signal_name)
        if status != -getattr(signal, signal_name):
            row["recovery"] += 1
            return [f"the tool ended by itself: {status}: {rest[-300:]}"]
        return self.look(row, "random", "000", after)

    def run_points(self, threads, name, how, signal_name, before, after, label):
        body = statement(name)
        self.before = before
        row = self.row = self.rows[(label, threads, how, signal_name)] = collections.Counter()
        began = time.monotonic()
        points = self.points(how, name, body)
        row["of"] = len(points)
        for point in self.sample(points):
            self.point(row, how, signal_name, name, threads, point, before, after)
        print(self.line((label, threads, how, signal_name), row) + f"  {time.monotonic() - began:.0f} s", flush=True)

    def points(self, how, name, body):
        self.prepare(name)
        if how in ("call", "target"):
            points = [call[:2] for call in self.calls(body)]
        elif how == "error":
            points = errors.points(self.random, self.calls(told(name)))
        elif how == "step":
            points = self.steps(body, name)
        self.set_state(self.before or "000")
        return points

    def line(self, key, row):
        return f"{key[0]:18} {key[1]:3} {key[2]:7} {key[3]:8}" + "".join(f"{row[name]:9}" for name in COLUMNS)

    def table(self):
        print(f"\n{'operation':18} {'thr':3} {'how':7} {'signal':8}" + "".join(f"{name:>9}" for name in COLUMNS))
        total = collections.Counter()
        for key, row in self.rows.items():
            print(self.line(key, row))
            total.update(row)
        print(self.line(("total", "", "", ""), total))
        return sum(total[name] for name in BAD)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool", required=True)
    parser.add_argument("--targets", required=True)
    parser.add_argument("--operation", action="append", choices=list(operations.OPERATIONS))
    parser.add_argument("--threads", action="append", type=int)
    parser.add_argument("--how", action="append", choices=["call", "step", "target", "error", "random"])
    parser.add_argument("--signal", action="append")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--random", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    options.operation = options.operation or list(operations.OPERATIONS)
    options.threads = options.threads or [1, 8, 64]
    options.how = options.how or ["call", "step", "target", "error"]
    options.signal = options.signal or ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGSEGV"]
    options.seed = options.seed if options.seed is not None else int(time.time())
    print(f"seed {options.seed}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # A parent that ignores signals (nohup) would make the tool ignore them.
    for number in (signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    sweep = Sweep(options)
    try:
        sweep.run()
    finally:
        if sweep.target:
            sweep.target.close()
        bad = sweep.table()
        shutil.rmtree(sweep.directory)
    sys.exit(1 if bad else 0)


main()
