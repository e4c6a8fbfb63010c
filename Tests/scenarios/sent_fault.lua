-- timeout: 30
-- SIGSEGV sent by somebody while a thread is borrowed is the program's own affair and not the container's fault.
local t = require "ulp.scenario"

local c <close> = t.target {"numserv", timeout = 20}
local slow = t.patch "dozens_slow"
local tool <close> = t.ulpsh {"-e", ("print(ulp.trigger(%d, %q).state)"):format(c.pid, slow), timeout = 20}
t.wait_until(function() return t.read_file(("/proc/%d/maps"):format(c.pid)):find(slow, 1, true) end)
c:signal "SEGV"
t.eq(t.ok(c:wait(10), "the program ends").signal, 11, "how it ends")
tool:expect "gone\n"
