-- A process without the runtime: every verb says so, with what to do, and the process does not notice.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"numserv", preload = false}
local p <close> = assert(ulp.attach(c.pid))
local fix, pid = t.patch "dozens_13", tostring(c.pid)
local before = t.snapshot(c.pid)

for verb, call in pairs {
  trigger = function() return ulp.trigger(p, fix) end,
  check = function() return ulp.check(p, fix) end,
  revert = function() return ulp.revert(p, fix) end,
  revert_all = function() return ulp.revert_all(p, "libdozens.so.0") end,
  replace = function() return ulp.replace(p, "libdozens.so.0", fix) end,
  plan = function() return ulp.plan(p, fix) end,
  patches = function() return ulp.patches(p) end,
  messages = function() return ulp.messages(p) end,
  runtime = function() return p:runtime() end,
} do
  local err = t.raises("runtime.missing", call)
  t.ok(err.message:find(pid, 1, true), verb .. " names the process")
  t.ok(err.hint:find("LD_PRELOAD", 1, true), verb .. " says what to do")
end
t.eq(ulp.try_trigger(p, fix), nil)
t.eq(select(2, ulp.try_trigger(p, fix)).code, "runtime.missing")

for _, words in ipairs {
  {"trigger", fix}, {"check", fix}, {"revert", fix}, {"revert", "--all", "libdozens.so.0"}, {"plan", fix}, {"patches"},
  {"messages"}, {"replace", "libdozens.so.0", fix}, {"recover"},
} do
  local tool <close> = t.ulpsh {timeout = 20, words[1], "-p", pid, table.unpack(words, 2)}
  tool:expect "runtime.missing"
  tool:expect_exit(1)
end

-- Without a PID the process is not meant: it is not there to be patched.
for p_ in ulp.processes{lib = "libdozens.so.0"} do t.ok(p_.pid ~= c.pid, "it is passed over") end
t.unchanged(c.pid, before)
c:ask("dozen", "12\n", {reject = "13"})
c:send "quit\n"
c:expect_exit(0)
