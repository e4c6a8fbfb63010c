"""The prompt on a terminal: lines, continuation, completion, printing, keys, history."""

import os
import stat

from harness import STATE, Terminal, contains, environment, equal, test


def shell(*arguments, **options):
    terminal = Terminal(*arguments, **options)
    terminal.prompt()
    return terminal


def leave(terminal):
    terminal.send("\x04")
    equal(terminal.end(), 0)


@test
def values_are_printed():
    t = shell()
    for line, expected in [
        ("1 + 1", "2"), ("'a\\nb'", '"a\\nb"'), ("nil", "nil"), ("1, nil, 'x'", '1\tnil\t"x"'), ("{1, 2, a = {b = 1}}", "{1, 2, a = {b = 1}}"),
        ("{}", "{}"), ("{pc = 4096}", "{pc = 0x1000}"), ("1 << 40", "1099511627776"), ("0.5", "0.5"), ("'\\xff\\27'", '"\\xff\\x1b"'),
        ("{{{{{{1}}}}}}", "{{{{{...}}}}}"), ("ulp.error.new('patch.blocked', 'm')", "m [patch.blocked]\r\nhint: "),
        ("setmetatable({}, {__tostring = function() return 'mine' end})", "mine"),
        ("setmetatable({}, {__tostring = error})", "<table: __tostring fails>"),
        ("setmetatable({1}, {__index = error, __len = error, __pairs = error, __name = {}})", "{1}"),
        ("io.stdout", "file (0x"), ("print", "<function 0x"), ("_", "<function 0x"), ("= 3", "stdin:1: unexpected symbol near '='"),
    ]:
        contains(t.enter(line), expected)
    equal(t.enter("x = 1"), "ulp> ")
    t.enter("t = {} t.t = t")
    contains(t.enter("t"), "{t = <cycle>}")
    t.enter("require 'ulp.repl'.options.hex = true")
    contains(t.enter("1 << 40"), "0x10000000000")
    leave(t)


@test
def large_values_are_cut():
    t = shell()
    for line in ["('x'):rep(1e7)", "(function() local t = {} for i = 1, 1e6 do t[i] = i end return t end)()",
                 "(function() local t = {} for i = 1, 1e5 do t['k' .. i] = {} end return t end)()",
                 "(function() local t = {} for i = 1, 1e5 do t = {t} end return t end)()",
                 "(function() local t = {} for i = 1, 200 do t[i] = {} for j = 1, 200 do t[i][j] = {j} end end return t end)()"]:
        text = t.enter(line)
        assert len(text) < 200_000, f"{line}: {len(text)} characters"
        contains(text, "...")
    leave(t)


@test
def statements_go_on_over_lines():
    t = shell()
    t.send("for i = 1, 2 do\r")
    t.read_until(r"\.\. $")
    t.send("print('line', i)\r")
    t.read_until(r"\.\. $")
    contains(t.enter("end"), "line\t1\r\nline\t2")
    t.send("f(\r")
    t.read_until(r"\.\. $")
    t.send("\x03")
    contains(t.prompt(), "^C")
    t.send("x = [[\r")
    t.read_until(r"\.\. $")
    t.enter("]]")
    contains(t.enter("x = = 1"), "unexpected symbol near '='")
    contains(t.enter("6 * 7"), "42")
    leave(t)


@test
def interrupt_abandons_a_line():
    t = shell()
    t.send("error 'must not run'")
    t.send("\x03")
    text = t.prompt()
    equal("must not run" in text.split("^C")[-1], False)
    contains(t.enter("6 * 7"), "42")
    t.send("\x12abc\x03")  # in the middle of a search
    t.prompt()
    contains(t.enter("6 * 7"), "42")
    leave(t)


@test
def interrupt_stops_a_statement():
    t = shell()
    for code in ["while true do end", "while true do pcall(error) end", "coroutine.wrap(function() while true do end end)()",
                 "for _ in function() return 1 end do end", "while true do ('x'):rep(10) end",
                 "setmetatable({}, {__index = function() while true do end end}).x = nil or "
                 "setmetatable({}, {__index = function() LOOP while true do end end}).x",
                 "while true do pcall(function() while true do end end) end",
                 "setmetatable({}, {__tostring = function() LOOP while true do end end})"]:
        # Not earlier: Ctrl-C discards what the terminal still holds.
        if "LOOP" not in code:
            code = "LOOP " + code
        t.send(code.replace("LOOP", "io.write('st', 'arted\\n')") + "\r")
        t.read_until("started\r\n")
        text = t.interrupt()
        if "__tostring" not in code:
            contains(text, "interrupted [script.interrupted]")
        equal("traceback" in text, False)
        contains(t.enter("6 * 7"), "42")
    leave(t)


@test
def an_answer_has_no_traceback_but_a_mistake_has():
    t = shell()
    text = t.enter("ulp.trigger(1, '/nowhere/fix.so')")
    contains(text, "[file.unreadable]")
    contains(text, "hint: ")
    equal("traceback" in text, False)
    contains(t.enter("local none; none.x = 1"), "stack traceback:")
    leave(t)


@test
def end_of_input_leaves():
    t = shell()
    leave(t)
    t = shell("-e", "x = 5", "-i")
    contains(t.enter("x"), "5")
    t.send("os.exit(9)\r")
    equal(t.end(), 9)
    t = shell("-i", "-e", "error 'early'")
    contains(t.enter("6 * 7"), "42")
    leave(t)


@test
def names_are_completed():
    t = shell()
    t.enter("value = {alpha = 1, beta = {gamma = 2}, ['not a name'] = 3, list = {{delta = 4}}, greet = function() end}")
    for line, expected in [
        ("val", "value"), ("value.al", "value.alpha"), ("value.beta.", "value.beta.gamma"), ("value:gr", "value:greet("),
        ("value:al", "value:al"), ("value.list[1].de", "value.list[1].delta"), ('value["beta"].g', 'value["beta"].gamma'),
        ("print(value.beta.g", "print(value.beta.gamma"), ("x = 1 .. val", "x = 1 .. value"), ("string.form", "string.format("),
        ("('x'):up", "('x'):up"), ("ulp.err", "ulp.error"), ("coll", "collectgarbage("), ("whi", "while"), ("io.stdout:se", "io.stdout:se"),
        ("-- val", "-- val"), ("'", "'"),
    ]:
        contains(t.complete(line), expected)
    t.enter("s = 'text'")
    contains(t.complete("s:low"), "s:lower(")
    contains(t.complete("io.stdout:fl"), "io.stdout:flush(")
    leave(t)


@test
def file_names_are_completed_in_strings():
    with open(os.path.join(STATE, "unique-file-name"), "w"):
        pass
    t = shell()
    contains(t.complete(f'io.open("{STATE}/uniq'), "unique-file-name")
    leave(t)


@test
def completion_runs_no_code_and_survives_everything():
    t = shell()
    t.enter("ran = 0")
    for definition in [
        "evil = setmetatable({}, {__index = function() ran = ran + 1 end, __pairs = function() ran = ran + 1 end})",
        "evil = setmetatable({}, {__index = setmetatable({}, {__index = function() ran = ran + 1 end})})",
        "evil = {} setmetatable(evil, {__index = evil})",
        "evil = setmetatable({}, {__complete = function() error 'x' end})",
        "evil = setmetatable({}, {__complete = function() return 5 end})",
        "evil = setmetatable({}, {__complete = function() return {[1] = 2, ['\\0'] = 3, [{}] = 4, ok = 5} end})",
        "evil = setmetatable({}, {__metatable = 5, __index = 7, __members = 8})",
        "evil = setmetatable({}, {__members = {x = 1}, __index = error})",
        "evil = setmetatable({}, {__gc = error, __eq = error, __len = error, __name = error})",
        "evil = coroutine.create(print)", "evil = 5", "evil = nil", "evil = print",
        "evil = {} for i = 1, 3e5 do evil['k' .. i] = i end",
        "evil = {['\\27[2J'] = 1, [('x'):rep(1e6)] = 2}",
    ]:
        t.enter(definition)
        for line in ["evil.", "evil:", "evil.a.b.c:", "evil[1].", "evil..", "evil...", "evil['", ".", ":", "evil.x:y(", "(((", "x.y[", "]]."]:
            t.complete(line)
        contains(t.enter("6 * 7"), "42")
    contains(t.enter("ran"), "0")
    t.enter("setmetatable(_G, {__index = function() ran = ran + 1 error 'x' end})")
    t.complete("nosuch.")
    t.complete("pri")
    contains(t.enter("ran"), "0")
    leave(t)


@test
def interrupt_stops_a_completion():
    t = shell()
    t.enter("slow = setmetatable({}, {__complete = function() io.stderr:write('thin', 'king') while true do end end})")
    t.complete_slowly("slow.", "thinking")
    contains(t.enter("6 * 7"), "42")
    leave(t)


@test
def history_is_kept_and_private():
    path = os.path.join(STATE, "ulpsh/history")
    t = shell()
    t.enter("remembered = 12345")
    t.enter("   ")
    leave(t)
    equal(stat.S_IMODE(os.stat(path).st_mode), 0o600)
    equal(stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode), 0o700)
    with open(path) as file:
        lines = file.read().splitlines()
    equal(lines[-1], "remembered = 12345")
    t = shell()
    t.send("\x10\r")  # the previous line
    t.prompt()
    contains(t.enter("remembered"), "12345")
    leave(t)


@test
def without_a_place_for_history_the_prompt_works():
    env = environment(XDG_STATE_HOME="/proc/nowhere", HOME="/proc/nowhere")
    t = shell(env=env)
    contains(t.enter("6 * 7"), "42")
    leave(t)


@test
def help_shows_the_comments_of_the_source():
    t = shell()
    contains(t.enter("help()"), "Ctrl-D leaves")
    contains(t.enter("help(ulp.error.new)"), "Makes an error value")
    contains(t.enter("help 'error'"), "Errors as tables")
    contains(t.enter("help(ulp.error)"), "Errors as tables")
    contains(t.enter("help(ulp.core.pids)"), "The PIDs of all processes")
    contains(t.enter("help(ulp.core.members('ulp.Process').read)"), "Reads memory.")
    contains(t.enter("help 'ulp.trigger'"), "containers: ")
    contains(t.enter("help(print)"), "nothing is known")
    contains(t.enter("help(5)"), "nothing is known")
    contains(t.enter("help 'nosuch'"), "nothing is known")
    leave(t)
