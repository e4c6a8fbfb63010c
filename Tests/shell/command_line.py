"""Flags, scripts, exit statuses, signals, what is ignored."""

import json
import os
import re
import signal
import subprocess
import time

from harness import CONFIG, HOME, LIMIT, ROOT, ULPSH, Run, contains, environment, equal, interrupt_until, test


def script(name, text, mode=0o644):
    path = os.path.join(HOME, name)
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)
    return path


@test
def code_from_the_command_line():
    run = Run("-e", "x = 1", "-e", "print(x + 1)", "-eprint 'joined'")
    equal((run.status, run.out, run.err), (0, "2\njoined\n", ""))


@test
def script_gets_its_arguments():
    path = script("args.lua", "print(arg[0]:match '[^/]*$', arg[1], arg[-1] ~= nil, #arg, ...)")
    equal(Run(path, "a", "-e", "--json").out, "args.lua\ta\ttrue\t3\ta\t-e\t--json\n")


@test
def script_runs_by_its_first_line():
    path = script("hello", f"#!{ULPSH}\nprint('hello', ...)\nerror 'here'\n", 0o755)
    done = subprocess.run([path, "x"], capture_output=True, env=environment(), timeout=LIMIT)
    equal((done.returncode, done.stdout), (3, b"hello\tx\n"))
    contains(done.stderr.decode(), "hello:3: here")


@test
def standard_input_is_a_script():
    equal(Run(input="print(1)").out, "1\n")
    equal(Run("-", "a", input="print(...)").out, "a\n")
    equal(Run(input="").status, 0)


@test
def version_help_and_mistakes():
    contains(Run("--version").out, "ulpsh ")
    contains(Run("--help").out, "usage: ulpsh")
    for arguments in [["--frob"], ["-e"], ["-x"], ["nosuch"], ["no/such.lua"], ["trigger"], ["trigger", "--frob", "x"]]:
        run = Run(*arguments)
        equal((arguments, run.status, run.out), (arguments, 2, ""))
        contains(run.err, "ulpsh: ")
    contains(Run("trgger").err, "did you mean 'trigger'?")


@test
def every_command_has_help():
    names = [line.split()[0] for line in Run("help").out.splitlines() if line.startswith("  ")]
    equal(names, sorted(f[:-4] for f in os.listdir(os.path.join(ROOT, "stdlib/commands"))))
    for name in names:
        run = Run("help", name)
        equal((name, run.status, run.err), (name, 0, ""))
        contains(run.out, f"Usage: ulpsh {name}")
        equal(Run(name, "--help").out, run.out)


def named(name, *arguments):
    """Runs the program under another name."""
    link = os.path.join(HOME, name)
    if not os.path.islink(link):
        os.symlink(ULPSH, link)
    return Run(*arguments, program=link)


@test
def under_the_name_ulp_suses_command_line_is_read():
    run = named("ulp", "--help")
    equal((run.status, run.err), (0, ""))
    for command in ["trigger", "patches", "check", "dump", "packer", "post", "messages", "livepatchable", "set_patchable", "extract"]:
        contains(run.out, f"\n  {command} ")
    equal(named("ulp", "trigger", "-?").out.splitlines()[0], "Usage: ulp trigger [OPTION...] [CONTAINER]")
    contains(named("ulp", "-V").out, "libpulp ")
    for words in [[], ["frobnicate"], ["--frob"], ["check", "-v", "-q", "x"], ["trigger", "a", "b"], ["trigger", "--re", "x"],
                  ["patches", "-p"], ["trigger"], ["trigger", "x", "--color=blue"], ["patches", "operand"]]:
        run = named("ulp", *words)
        equal((words, run.status, run.out), (words, 64, ""))
        contains(run.err, "ulp: ")


@test
def options_of_ulp_come_in_any_order_and_cut_short():
    for words in [["trigger", "--revert-al=libx", "--disable-su", "-p", "999999999"], ["-p999999999", "trigger", "missing.so"],
                  ["--tim", "3", "-qp", "999999999", "trigger", "--", "missing.so"]]:
        run = named("ulp", *words)
        equal((words, run.status, run.out), (words, 0, ""))
        equal(("-qp" in words) == (run.err == ""), True)
    contains(named("ulp", "patches", "-p", "999999999").err, "] ulp: error gathering target process information: No such process")
    equal(named("ulp", "patches", "-p", "999999999").status, 1)


@test
def the_first_names_are_programs_too():
    for name, line in [("trigger", "[-p] PID LIVEPATCH"), ("check", "[-p] PID LIVEPATCH"), ("packer", "DESCRIPTION [METADATA]"),
                       ("reverse", "METADATA [REVERT-METADATA]"), ("dump", "FILE"), ("post", "FILE"), ("messages", "-p PID")]:
        run = named("ulp_" + name, "--help")
        equal((run.status, run.err), (0, ""))
        contains(run.out, f"Usage: ulp_{name} [OPTION...] {line}\n")
        equal(named("ulp_" + name).status, 64)
    equal(named("ulp_nothing").status, 64)


@test
def errors_are_printed_with_hint_and_traceback():
    run = Run("-e", "local function f() error(ulp.error.new('patch.blocked', 'busy')) end f()")
    equal((run.status, run.out), (3, ""))
    contains(run.err, "ulpsh: busy [patch.blocked]\nhint: ")
    contains(run.err, "stack traceback:\n")


@test
def errors_are_json_lines_on_request():
    for code, expected in [("error 'x'", "script.error"), ("error {}", "script.error"),
                           ("error(ulp.error.new('patch.blocked', 'b\\xff'))", "patch.blocked")]:
        run = Run("--json", "-e", code)
        line = json.loads(run.out)
        equal((run.status, run.err, line["schema"], line["type"], line["code"]), (3, "", 1, "error", expected))


@test
def nothing_of_the_environment_or_the_directory_is_loaded():
    script("evil.lua", "print 'loaded'")
    evil = f"{HOME}/?.lua"
    env = environment(LUA_INIT="print 'init'", LUA_INIT_5_4="print 'init'", LUA_PATH=evil, LUA_PATH_5_4=evil, LUA_CPATH=evil)
    run = Run("-e", "print(pcall(require, 'evil'))", env=env, cwd=HOME)
    equal((run.status, "loaded" in run.out, "init\n" in run.out), (0, False, False))
    run = Run("-e", "print(package.path .. package.cpath)", env=env)
    equal((HOME in run.out, ";." in run.out, run.out.startswith(".")), (False, False, False))


@test
def exit_closes_the_state():
    code = "closed = setmetatable({}, {__gc = function() print 'closed' end}) "
    equal((Run("-e", code + "os.exit(7)").status, Run("-e", code + "os.exit(7)").out), (7, "closed\n"))
    equal(Run("-e", code + "coroutine.wrap(function() os.exit(true) end)()").out, "closed\n")
    equal(Run("-e", code + "local c <close> = setmetatable({}, {__close = function() print 'left' end}) os.exit(0)").out, "left\nclosed\n")
    equal(Run("-e", code).out, "closed\n")


def start_of(body):
    """A script that has begun to run `body`, and says `left` when it cleans up."""
    code = "local c <close> = setmetatable({}, {__close = function() print 'left' end}) io.write 'go\\n' io.flush() " + body
    child = subprocess.Popen([ULPSH, "-e", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    equal(child.stdout.readline(), b"go\n")
    return child


@test
def interrupted_script_cleans_up_and_dies_of_the_signal():
    bodies = ["while true do end", "coroutine.wrap(function() while true do end end)()", "local function f() return f() end f()",
              "while true do coroutine.wrap(function() local x = 1 end)() end", "while true do string.rep('x', 100) end",
              "while true do coroutine.wrap(string.rep)('x', 1e7) end"]  # no instruction of Lua in the coroutine
    for body in bodies:
        child = start_of(body)
        time.sleep(0.1)  # most likely it is in the midst of it
        child.send_signal(signal.SIGINT)  # one is enough, wherever it comes
        try:
            out, err = child.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            child.kill()
            raise AssertionError(f"{body}: one interrupt did not end it") from None
        equal((body, child.returncode, out), (body, -signal.SIGINT, b"left\n"))
        contains(err.decode(), "interrupted")


@test
def a_script_that_catches_the_first_interrupt_dies_of_the_second():
    child = start_of("while true do pcall(function() while true do end end) end")
    interrupt_until(child.pid, lambda: child.send_signal(signal.SIGINT), lambda: child.poll() is not None)
    contains(child.communicate(timeout=LIMIT)[1].decode(), "interrupted")
    equal(child.returncode, -signal.SIGINT)


@test
def init_file_is_read_at_the_prompt_only():
    os.makedirs(os.path.join(CONFIG, "ulpsh"), exist_ok=True)
    path = os.path.join(CONFIG, "ulpsh/init.lua")
    with open(path, "w") as file:
        file.write("print 'init was read'")
    os.chmod(path, 0o644)
    equal(Run("-e", "").out, "")
    contains(Run("-i", input="").out, "init was read")
    os.chmod(path, 0o666)
    run = Run("-i", input="")
    equal("init was read" in run.out, False)
    contains(run.err, "others can write it")
    if os.geteuid() == 0:
        os.chmod(path, 0o644)
        os.chown(path, 65534, 65534)
        contains(Run("-i", input="").err, "it belongs to another user")
    os.remove(path)


@test
def the_prompt_works_without_a_terminal():
    run = Run("-i", input="1 + 1\nfor i = 1, 2 do\nprint(i)\nend\nerror 'x'\n'last'")
    equal(run.status, 0)
    contains(run.out, "2\n")
    contains(run.out, "last")
    contains(run.err, "stdin:1: x")


@test
def the_library_is_luacheck_clean():
    done = subprocess.run(["luacheck", "-q", "--no-color", "stdlib"], cwd=ROOT, capture_output=True, timeout=LIMIT)
    equal((done.returncode, done.stdout.decode() if done.returncode else ""), (0, ""))


@test
def lint_finds_raising_calls_in_swift():
    bad, good = script("bad.swift", "func f() { lua_error(L) }\n"), script("good.swift", "// lua_error(L)\nul_pcall(L)\nlua_rawget(L)\n")
    lint = os.path.join(ROOT, "scripts/lint")
    equal([subprocess.run([lint, path], capture_output=True, timeout=LIMIT).returncode for path in (bad, good)], [1, 0])


@test
def modules_make_no_globals():
    names = []
    for directory, _, files in os.walk(os.path.join(ROOT, "stdlib/ulp")):
        for file in files:
            path = os.path.relpath(os.path.join(directory, file), os.path.join(ROOT, "stdlib"))
            names.append(path[:-4].replace("/", "."))
    for name in sorted(names):
        code = ("local before = {} for k in pairs(_G) do before[k] = true end "
                f"require '{name}' for k in pairs(_G) do if not before[k] and k ~= 'help' then print(k) end end")
        run = Run("-e", code)
        equal((name, run.status, run.out, run.err), (name, 0, "", ""))


def declared(path):
    """Classes with their members, as a declaration file in stdlib/meta names them."""
    classes, fields, name = {}, [], None
    for line in open(path):
        if found := re.match(r"--- @class ([\w.]+)", line):
            name = found[1]
            classes[name] = set()
        elif found := re.match(r"--- @field (\w+)", line):
            classes[name].add(found[1])
        elif found := re.match(r"function \w+[.:](\w+)\(", line):
            classes[name].add(found[1])
    return classes


@test
def declarations_match_what_swift_provides():
    directory, classes = os.path.join(ROOT, "stdlib/meta"), {}
    for file in os.listdir(directory):
        classes.update(declared(os.path.join(directory, file)))
    for name, members in sorted(classes.items()):
        # A module may have added methods in Lua; those are documented where they are written.
        source = "require 'ulp.core'" if name == "ulp.core" else f"require 'ulp.core'.members '{name}'"
        code = ("for name, value in pairs(" + source + ") do "
                "if type(value) ~= 'function' or debug.getinfo(value, 'S').what == 'C' then print(name) end end")
        equal((name, sorted(Run("-e", code).out.split())), (name, sorted(members)))


@test
def results_become_lines_and_statuses():
    code = """
      local cli = require "ulp.cli"
      local out = cli.output(JSON)
      local none = cli.each({}, out, print)
      local p = {{pid = 1, comm = "a"}, {pid = 2, comm = "b\\27[2J"}, {pid = 3}}
      cli.each(p, out, function(p)
        if p.pid == 1 then return {state = "done", pid = 1, comm = p.comm, pause_us = 41, carrier_us = 1500} end
        if p.pid == 2 then require "ulp.error".raise("patch.blocked", "busy", {blockers = {{tid = 7, name = "w", symbol = "f"}}}) end
        require "ulp.error".raise("process.gone", "it ended")
      end)
      os.exit(out.worst * 10 + none)
    """
    run = Run("-e", code.replace("JSON", "false"))
    equal(run.status, 14)
    equal(run.out, "a[1]: done (paused 41 us, carrier 1.5 ms)\nb\\x1b[2J[2]: failed: busy [patch.blocked]\n"
                   "  thread 7 (w) is inside f\n  hint: give a longer `timeout`, or `consistency = \"immediate\"` if mixing versions is harmless\n"
                   "process[3]: gone: it ended [process.gone]\n  hint: nothing to undo; look at why it ended\n")
    contains(run.err, "no process matches [process.not_found]")
    run = Run("-e", code.replace("JSON", "true"))
    lines = [json.loads(line) for line in run.out.splitlines()]
    equal([(line["schema"], line["type"], line.get("state")) for line in lines],
          [(1, "error", None), (1, "result", "done"), (1, "result", "failed"), (1, "result", "gone")])
    equal((run.status, run.err), (14, ""))


@test
def json_shows_whatever_is_in_a_result():
    code = """
      local t = {state = "done", f = print, nan = 0/0, inf = math.huge, bytes = "\\xff\\0ok", [true] = 1, list = {1, 2}, h = io.stdout}
      t.me = t
      t.broken = setmetatable({}, {__tostring = error, __pairs = error, __index = error})
      require "ulp.render.json".result(t)
    """
    run = Run("-e", code)
    line = json.loads(run.out)
    equal((line["list"], line["bytes"], line["me"]), ([1, 2], "\ufffd\0ok", "..."))


@test
def a_mistake_in_a_command_has_its_own_traceback():
    code = """
      local cli = require "ulp.cli"
      cli.load = function() return {summary = "x", run = function(_, out)
        cli.each({{pid = 1}}, out, function(p) return p.x.y end)
      end} end
      os.exit(cli.main("x", {}, false))
    """
    run = Run("-e", code)
    equal(run.status, 3)
    contains(run.err, "attempt to index a nil value (field 'x')")
    contains(run.err, "(command line):4: in function")


@test
def output_that_is_lost_is_a_failure():
    for arguments in (["-e", "print 'x'"], ["-e", "io.write(('x'):rep(100000))"], ["help"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run([ULPSH, *arguments], stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=LIMIT)
        equal(done.returncode, 1)
        contains(done.stderr.decode(), "ulpsh: cannot write all of standard output")
    with open("/dev/full", "w") as full:
        done = subprocess.run([ULPSH, "-e", "print 'x' error 'y'"], stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=LIMIT)
        equal(done.returncode, 3)
        equal(subprocess.run([ULPSH, "-e", "x = 1"], stdout=full, env=environment(), timeout=LIMIT).returncode, 0)
    closed = subprocess.run(["/bin/sh", "-c", f"exec {ULPSH} -e 'print(1)' >&-"], env=environment(), timeout=LIMIT)
    equal(closed.returncode, 0)
