-- What cannot be averted has a defined outcome: exit ends the program as it asked to, a thread that ends itself or code that
-- unmaps itself leaves the program running and live patching switched off, and what is harmless goes on.
local t = require "ulp.scenario"
local ulp = require "ulp"

local function start(...)
  local c = t.target {..., timeout = 10}
  return c, assert(ulp.attach(c.pid))
end

-- exit(3) has run the program's own handlers by the time it could be stopped.
do
  local c, p = start "numserv"
  local said = t.state(ulp.trigger(p, t.patch "misdeed_quit"), "gone")
  t.ok(said.message:find("exit(3)", 1, true), "who ended it: " .. said.message)
  c:expect_exit(3)
end

-- pthread_exit(3) takes the thread, and the loader's lock with it; the other threads go on.
do
  local c, p = start("threads", "2")
  -- The zombie of a leader stays in the hands of its tracer until that ends, so the tool is a process of its own.
  local tool <close> = t.ulpsh {"trigger", "-p", tostring(c.pid), "--timeout", "3", t.patch "misdeed_end_thread"}
  tool:expect "ended its thread"
  tool:expect "[call.lost]"
  tool:expect_exit(1)
  t.unharmed(c.pid)
  t.refused("runtime.disabled", function() return ulp.trigger(p, t.patch "dozens_13") end)
  t.unharmed(c.pid)
  c:close()
end

-- Code that takes itself away cannot be unwound.
do
  local c, p = start "numserv"
  t.raises("call.fault", function() return ulp.trigger(p, t.patch "misdeed_unmap") end)
  t.unharmed(c.pid)
  c:ask("dozen", "12\n", {reject = "13"})
  t.refused("runtime.disabled", function() return ulp.trigger(p, t.patch "dozens_13") end)
  c:close()
end

-- So has code that takes itself away without being there any more: calls must not be led into it.
do
  local c, p = start "numserv"
  t.refused("container.changed", function() return ulp.trigger(p, t.patch "misdeed_vanish") end)
  t.unharmed(c.pid)
  c:ask("dozen", "12\n", {reject = "13"})
  c:close()
end

-- What it does beside its own stack stays its own affair: a child, another library, a mask and a jump.
do
  local c, p = start "numserv"
  local before = t.snapshot(c.pid).threads
  for _, name in ipairs {"fork", "opens", "mask"} do
    local fix = t.patch("misdeed_" .. name)
    t.state(ulp.trigger(p, fix), "done", name)
    c:ask("dozen", "13\n", {reject = "12"})
    t.eq(t.snapshot(c.pid).threads, before, name .. ": signal masks and actions")
    t.state(ulp.revert(p, fix), "done", name)
    c:ask("dozen", "12\n", {reject = "13"})
    t.unharmed(c.pid)
  end
  c:close()
end
