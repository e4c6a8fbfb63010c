-- A container whose constructor crashes is unloaded again and the program never learns of it; one that aborts cannot be led
-- back through the loader, so the program is left alone and not touched again.
local t = require "ulp.scenario"
local ulp = require "ulp"

local function containers(p)
  local found = 0
  for _, library in ipairs(p.libs) do
    if library.name:match "^dozens_" then found = found + 1 end
  end
  return found
end

do
  local c <close> = t.target "numserv"
  local p <close> = assert(ulp.attach(c.pid))
  for _ = 1, 3 do
    local err = t.raises("call.fault", function() return ulp.trigger(p, t.patch "dozens_crash") end)
    t.eq(err.signal, 11, "the signal is told")
    t.unharmed(c.pid)
    t.eq(containers(p), 0, "loaded containers")
    t.eq(p:runtime():state(), "idle", "no operation is pending")
    c:ask("dozen", "12\n", {reject = "13"})
  end
  t.state(ulp.trigger(p, t.patch "dozens_13"), "done", "the loader works as before")
  c:ask("dozen", "13\n", {reject = "12"})
end

do
  local c <close> = t.target "numserv"
  local p <close> = assert(ulp.attach(c.pid))
  local err = t.raises("call.fault", function() return ulp.trigger(p, t.patch "dozens_abort") end)
  t.eq(err.signal, 6, "the signal is told")
  t.unharmed(c.pid)
  c:ask("dozen", "12\n", {reject = "13"})
  t.refused("runtime.disabled", function() return ulp.trigger(p, t.patch "dozens_13") end)
  c:ask("dozen", "12\n", {reject = "13"})
  c:send "quit\n"
  c:expect_exit(0)
end
