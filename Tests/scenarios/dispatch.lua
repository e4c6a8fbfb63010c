-- timeout: 60
-- A thread whose system calls are dispatched to a handler of its own is not borrowed while they are, as the first one would raise
-- SIGSYS in it; others are, and it is while they pass.
local t = require "ulp.scenario"
local ulp = require "ulp"

local major, minor = t.read_file("/proc/sys/kernel/osrelease"):match "^(%d+)%.(%d+)"
if tonumber(major) * 1000 + tonumber(minor) < 6004 then t.skip "the kernel does not tell of system call dispatch" end
local sources = t.here .. "/../targets/"
local library = t.cc {kind = "library", as = "libdozens.so", source = sources .. "libraries/libdozens.c"}
local program = t.cc {
  kind = "program", as = "dispatch", source = sources .. "programs/dispatch.c", libraries = {library},
}
local fix = t.cc {as = "fix.so", target = library, units = {dozen = "dozen_2"}, code = "int dozen_2(void) { return 13; }"}

for _, mode in ipairs {"foreign", "passing"} do
  local c <close> = t.spawn {program, mode, preload = true, timeout = 20}
  if c:expect("(%a+)\n", {pattern = true}) == "none" then t.skip "the kernel does not tell of system call dispatch" end
  local p <close> = assert(ulp.attach(c.pid))
  local function call() return p:call("getpid", {}, {thread = c.pid, timeout = 5}) end
  if mode == "foreign" then
    local said = t.raises("carrier.none", call)
    t.ok(said.message:find("DISPATCH", 1, true), "the reason: " .. said.message)
  else
    t.eq(call(), c.pid, "a call while they pass")
  end
  for _ = 1, 4 do
    t.state(ulp.trigger(p, fix, {timeout = 10}), "done")
    c:ask("tell", "dozen=13 trapped=0 running=1.", {reject = "dozen=12"})
    t.state(ulp.revert(p, fix, {timeout = 10}), "done")
    c:ask("tell", "dozen=12 trapped=0 running=1.", {reject = "dozen=13"})
    t.unharmed(c.pid)
  end
end
