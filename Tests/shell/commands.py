"""The subcommands on a live process: what they print, how they end, and what the process then answers."""

import json
import os
import subprocess

from harness import HOME, LIMIT, ROOT, ULPSH, Run, contains, environment, equal, test

TARGETS = os.environ.get("ULPSH_TARGETS", os.path.join(ROOT, ".build/targets"))
RUNTIME = os.path.join(os.path.dirname(os.path.realpath(ULPSH)), "libpulp.so")


class Server:
    """Tests/targets' numserv with the runtime preloaded."""

    def __enter__(self):
        subprocess.run(["make", "-s", "-C", os.path.join(ROOT, "Tests/targets")], check=True, timeout=LIMIT)
        env = environment(LD_LIBRARY_PATH=TARGETS, LD_PRELOAD=RUNTIME)
        self.process = subprocess.Popen([os.path.join(TARGETS, "numserv")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        self.pid = str(self.process.pid)
        equal(self.process.stdout.readline(), b"ready\n")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate(timeout=LIMIT)

    def ask(self, word):
        self.process.stdin.write(word.encode() + b"\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().decode().strip().rsplit(" ", 1)[-1]


def pack(name):
    path = os.path.join(HOME, name + ".so")
    run = Run("pack", name + ".dsc", "-o", path, cwd=TARGETS)
    equal((run.status, run.err), (0, ""))
    contains(run.out, path)
    return path


def ends(status, *arguments):
    run = Run(*arguments)
    equal((arguments, run.status, run.err if status == 0 else ""), (arguments, status, ""))
    return run


@test
def a_patch_is_planned_applied_checked_listed_and_taken_back():
    with Server() as server:
        patch, select = pack("dozens_13"), ["-p", server.pid]
        ends(1, "check", *select, patch)
        contains(ends(0, "plan", *select, patch).out, "dozen at 0x")
        contains(ends(0, "trigger", "--dry-run", *select, patch).out, "dozen at 0x")
        equal(server.ask("dozen"), "12")
        contains(ends(0, "trigger", *select, patch).out, f"numserv[{server.pid}]: done (paused ")
        equal(server.ask("dozen"), "13")
        contains(ends(0, "trigger", *select, patch).out, "already")
        ends(0, "check", *select, patch)
        contains(ends(0, "patches", *select).out, patch)
        contains(ends(0, "messages", *select).out, "libpulp")
        contains(ends(0, "recover", server.pid).out, "already")
        listed = json.loads(ends(0, "--json", "patches", *select).out)
        equal((listed["schema"], listed["type"], len(listed["patches"])), (1, "patches", 1))
        contains(ends(0, "revert", *select, listed["patches"][0]["id"]).out, "done")
        equal(server.ask("dozen"), "12")
        ends(1, "check", *select, patch)
        contains(ends(0, "replace", *select, "libdozens.so.0", patch).out, "done")
        equal(server.ask("dozen"), "13")
        contains(ends(0, "revert", *select, patch).out, "done")
        equal(server.ask("dozen"), "12")


@test
def what_cannot_be_done_is_an_answer():
    with Server() as server:
        patch = pack("dozens_13")
        contains(ends(1, "trigger", "-p", "4194304", patch).err, "[process.not_found]")
        contains(ends(4, "trigger", "-p", "no such name", patch).err, "no process matches")
        contains(ends(1, "trigger", "-p", server.pid, "/nosuch.so").err, "[file.unreadable]")
        contains(ends(1, "trigger", "-p", server.pid, os.path.join(TARGETS, "libdozens.so.0")).err, "[container.no_metadata]")
        contains(ends(2, "trigger", "--timeout=-1", "-p", server.pid, patch).out, "timeout")
        run = ends(1, "trigger", "-p", server.pid, "-p", "4194304", patch)  # one is not there, the other is done
        contains(run.out, f"numserv[{server.pid}]: done")
        equal(server.ask("dozen"), "13")
        line = json.loads(ends(1, "--json", "trigger", "-p", "4194304", patch).out.splitlines()[0])
        equal((line["schema"], line["type"], line["code"]), (1, "error", "process.not_found"))
