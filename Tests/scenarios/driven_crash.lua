-- timeout: 90
-- Constructors that crash, end the program or do not end, under SUSE's tool, which takes any stop for the end: what the program
-- calls stays old, its signal mask comes back, live patching goes on, and what is half constructed is never put into force.
local t = require "ulp.scenario"
local ulp = require "ulp"
local suse = t.shared "suse"

local good = t.patch "dozens_13"

local function serves(c, dozen)
  c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"})
  t.unharmed(c.pid)
end

for _, name in ipairs {"segv", "abort", "ill", "fpe", "overflow"} do
  local c <close> = t.target {"numserv", timeout = 20}
  local fix = t.patch("misdeed_" .. name)
  serves(c, 12)
  local mask = t.snapshot(c.pid).threads[c.pid]:match "^%x+"
  local found = suse.run("-r", "1", "trigger", c.pid, fix)
  t.ok(found.text:find "at=elsewhere", "the tool did not see its int3: " .. found.text)
  t.ok(not found.text:find "instructions=[1-9]", "nothing is queued")
  serves(c, 12)
  t.ok(not suse.applied(c, fix), name .. ": not applied")
  t.eq(t.snapshot(c.pid).threads[c.pid]:match "^%x+", mask, name .. ": the next call gives the mask back")
  for _ = 1, 2 do suse.expect("EDLOPEN", "trigger", c.pid, fix) end
  t.ok(suse.run("messages", c.pid).text:find("ended in one of its constructors", 1, true), "the reason")
  serves(c, 12)
  suse.trigger(c, good)
  serves(c, 13)
  t.eq(suse.list(c), "libdozens.so.0:dozens_13.so", "the list")
  suse.revert(c, good)
  serves(c, 12)
  c:signal "TERM"
  t.eq(t.ok(c:wait(5), name .. ": signals arrive again").signal, 15)
end

-- After the crash ulpsh, on the same thread: the container is refused there as well.
do
  local c <close> = t.target {"numserv", timeout = 20}
  local fix = t.patch "misdeed_segv"
  suse.run("-r", "1", "trigger", c.pid, fix)
  local p <close> = assert(ulp.attach(c.pid))
  p:runtime():recover()
  t.eq(p:runtime():state(), "idle")
  t.refused("container.stale", function() return ulp.trigger(p, fix) end)
  serves(c, 12)
  t.state(ulp.trigger(p, good), "done")
  serves(c, 13)
end

-- 3: the constructor ends the program. 62: it does not end; the tool leaves the thread in it.
do
  local c <close> = t.target {"numserv", timeout = 20}
  t.eq(suse.run("trigger", c.pid, t.patch "misdeed_leave").name, "ESRCH")
  t.ok(c:wait(5), "the program has ended")
end
do
  local c <close> = t.target {"threads", "2", timeout = 20}
  t.eq(suse.run("-r", "300", "--timeout", "500", "trigger", c.pid, t.patch "misdeed_spin").name, "ETIME")
  t.unharmed(c.pid)
  t.ok(not suse.applied(c, good))
  t.eq(suse.run("-r", "3", "--timeout", "500", "trigger", c.pid, good).name, "EAGAIN", "the thread is still in the call")
  t.unharmed(c.pid)
end
-- One that takes longer than the tool waits ends at the int3 without a tracer. It is that tool's fault, and documented.
do
  local c <close> = t.target {"numserv", timeout = 20}
  t.eq(suse.run("--timeout", "100", "trigger", c.pid, t.patch "dozens_slow").name, "ETIME")
  t.eq(t.ok(c:wait(5), "the program has ended").signal, 5, "SIGTRAP")
end
