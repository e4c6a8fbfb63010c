"""Whatever Lua throws, from wherever: the shell reports it and goes on."""

import os
import tempfile

from harness import HOME, Run, Terminal, contains, equal, test

# Code that fails, and a part of what is reported.
HOSTILE = {
    "nil": ("error(nil)", "error object is a nil value"),
    "table": ("error({})", "error object is a table value"),
    "function": ("error(print)", "error object is a function value"),
    "boolean": ("error(false)", "error object is a boolean value"),
    "number": ("error(12, 0)", "12"),
    "tostring fails": ("error(setmetatable({}, {__tostring = function() error 'again' end}))", "__tostring fails"),
    "tostring gives no string": ("error(setmetatable({}, {__tostring = function() return {} end}))", "__tostring fails"),
    "tostring recurses": ("local t = setmetatable({}, {}) getmetatable(t).__tostring = function() return tostring(t) end error(t)", "__tostring fails"),
    "name is no string": ("error(setmetatable({}, {__name = {}}))", "error object is a table value"),
    "coded without fields": ("error(setmetatable({}, ulp.core.Error))", "error without a message"),
    "coded with wrong fields": ("error(setmetatable({code = {}, message = print, hint = 1}, ulp.core.Error))", "["),
    "control characters": ("error('\\27[2J\\7', 0)", "\\x1b[2J\\x07"),
    "long": ("error(('x'):rep(100000000), 0)", "(100000000 bytes)"),
    "stack overflow": ("local function f() return 1 + f() end f()", "stack overflow"),
    "C stack overflow": ("local function f() return (('x'):gsub('x', f)) end f()", "C stack overflow"),
    "swift recursion": ("local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k .. 'x'] end local x = t.a", "C stack overflow"),
    "overflow in coroutines": ("local function f() coroutine.wrap(f)() end f()", "C stack overflow"),
    "overflow in pcall": ("local function f() local ok, e = pcall(f) error(e, 0) end f()", "overflow"),
    "message handler fails": ("error(select(2, xpcall(error, function() error 'h' end, 'x')), 0)", "ulpsh"),
    "deep nesting": ("assert(load(('('):rep(100000)))", "overflow"),
    "deep tables": ("assert(load('return ' .. ('{'):rep(100000)))", "overflow"),
    "pattern": ("string.find(('a'):rep(300000), ('a?'):rep(300000) .. 'b')", "pattern too complex"),
    "out of memory": ("return io.open('/dev/zero'):read(1 << 45)", "not enough memory"),
    "string too long": ("return ('x'):rep(math.maxinteger)", "too large"),
    "coroutine.wrap": ("coroutine.wrap(function() error {} end)()", "error object is a table value"),
    "coroutine.wrap of a string": ("coroutine.wrap(function() error('inner', 0) end)()", "inner"),
    "dead coroutine": ("local f = coroutine.wrap(function() end) f() f()", "cannot resume dead coroutine"),
    "close fails": ("local c <close> = setmetatable({}, {__close = function() error 'closing' end})", "closing"),
    "close fails after an error": ("local c <close> = setmetatable({}, {__close = function() error 'closing' end}) error 'first'", "closing"),
    "close fails in a coroutine": ("local f = coroutine.wrap(function() local c <close> = setmetatable({}, {__close = function() error 'closing' end}) "
                                   "error 'x' end) f()", "closing"),
    "hook fails": ("debug.sethook(function() debug.sethook() error 'hook' end, '', 1) local x = 1 return x", "hook"),
    "no globals": ("local g = _G for k in pairs(g) do if k ~= 'error' then g[k] = nil end end error 'bare'", "bare"),
    "globals fail": ("setmetatable(_G, {__index = function() error 'index' end, __newindex = function() error 'new' end}) return nosuch", "index"),
    "nil has a metatable": ("debug.setmetatable(nil, {__tostring = function() error 'x' end, __index = error}) error(nil)", "__tostring fails"),
    "bad argument to Swift": ("ulp.core.code({})", "bad argument #1 'name' to 'code' (string expected, got table)"),
    "unknown class": ("ulp.core.members 'x'", "no such class"),
    "binary chunk": ("assert(load(string.dump(function() end) .. 'x', 'x', 't'))", "attempt to load a binary chunk"),
    "yield outside": ("coroutine.yield()", "outside a coroutine"),
    "require": ("require 'no.such.module'", "module 'no.such.module' not found"),
}

# Code that fails where nobody can be told: a warning at most.
QUIET = {
    "gc": "setmetatable({}, {__gc = function() error 'finalizer' end}) collectgarbage()",
    "gc with an object": "setmetatable({}, {__gc = function() error {} end}) collectgarbage()",
    "gc that collects": "setmetatable({}, {__gc = function() collectgarbage() end}) collectgarbage()",
    "gc that yields": "setmetatable({}, {__gc = coroutine.yield}) collectgarbage()",
    "gc at the end": "keep = setmetatable({}, {__gc = function() error 'late' end})",
    "gc that uses Swift at the end": "keep = setmetatable({}, {__gc = function() ulp.core.code 'usage' end})",
    "gc that revives": "keep = setmetatable({}, {__gc = function(o) keep2 = o setmetatable(o, getmetatable(o)) end}) keep = nil collectgarbage()",
    "warn": "warn('@off') warn('x') warn('@on') warn('a', 'b')",
}


def check(name, run, part):
    assert run.status == 3, f"{name}: status {run.status}, {run.err[-500:]!r}"
    assert part in run.err, f"{name}: expected {part!r} in {run.err[-1000:]!r}"
    assert len(run.err) < 100_000, f"{name}: {len(run.err)} characters were printed"


@test
def failing_code_from_the_command_line():
    for name, (code, part) in HOSTILE.items():
        check(name, Run("-e", code), part)


@test
def failing_code_from_a_script():
    with tempfile.TemporaryDirectory(dir=HOME) as directory:
        for name, (code, part) in HOSTILE.items():
            path = os.path.join(directory, "failing.lua")
            with open(path, "w") as file:
                file.write(code)
            check(name, Run(path), part)


@test
def failing_code_with_json():
    for name, (code, _) in HOSTILE.items():
        run = Run("--json", "-e", code)
        assert run.status == 3, f"{name}: status {run.status}, {run.err[-500:]!r}"
        assert run.out or run.err, f"{name}: nothing was printed"


@test
def failures_without_an_audience():
    for name, code in QUIET.items():
        run = Run("-e", code)
        assert run.status == 0, f"{name}: status {run.status}, {run.err!r}"
    contains(Run("-e", QUIET["gc"]).err, "finalizer")


@test
def failing_code_at_the_prompt():
    spoiling = {"no globals", "globals fail"}
    shell = Terminal()
    shell.prompt()
    for name, (code, part) in HOSTILE.items():
        if name in spoiling:
            continue
        text = shell.enter(code)
        assert part in text or part == "ulpsh", f"{name}: expected {part!r} in {text[-1000:]!r}"
        contains(shell.enter("6 * 7"), "42")
        shell.enter("debug.setmetatable(nil, nil)")
    for code in QUIET.values():
        shell.enter(code)
        contains(shell.enter("6 * 7"), "42")
    shell.send("\x04")
    equal(shell.end(), 0)


@test
def the_prompt_survives_the_loss_of_all_globals():
    for code in [HOSTILE["no globals"][0], HOSTILE["globals fail"][0], "package.loaded = nil", "package.path = nil require = nil",
                 "string = nil table = nil utf8 = nil", "getmetatable('').__index = nil", "debug.setmetatable('', nil)"]:
        shell = Terminal()
        shell.prompt()
        shell.enter(code)
        contains(shell.enter("6 * 7"), "42")
        shell.complete("str")
        shell.complete("ulp.")
        contains(shell.enter("6 * 7"), "42")
        shell.send("\x04")
        equal(shell.end(), 0)


@test
def a_stack_without_room_is_an_error_of_lua():
    for count in (999700, 999760, 999800, 999900):
        run = Run("-e", f"print(pcall(require 'ulp.core'.sleep, table.unpack({{}}, 1, {count})))")
        equal(run.status, 0)
        equal(run.out.startswith("false\t"), True)
