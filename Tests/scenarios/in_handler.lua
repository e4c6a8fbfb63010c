-- timeout: 60
-- A process that is in a signal handler for good is patched all the same, unless what the handler interrupted may hold a lock.
local t = require "ulp.scenario"
local ulp = require "ulp"

local fix = t.patch "dozens_13"

-- A server's child that was forked in the handler for the end of another one has no other thread, and never leaves it.
for _, how in ipairs {"forked", "own"} do
  local c <close> = t.target {"handled", how, timeout = 20}
  local pid = c.pid
  if how == "forked" then
    pid = t.wait_until(function()
      return tonumber(t.read_file(("/proc/%d/task/%d/children"):format(c.pid, c.pid)):match "%d+")
    end, "the child")
  end
  local p <close> = assert(ulp.attach(pid))
  for round = 1, 3 do
    t.state(ulp.trigger(p, fix), "done", how .. ", round " .. round)
    c:ask("dozen", "13\n", {reject = "12"})
    t.state(ulp.revert(p, fix), "done", how .. ", round " .. round)
    c:ask("dozen", "12\n", {reject = "13"})
    t.unharmed(pid)
  end
end

for how, reason in pairs {alternate = "in a signal handler", allocator = "in the allocator"} do
  local c <close> = t.target {"handled", how, timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  local before = t.snapshot(c.pid)
  local said = t.refused("carrier.none", function() return ulp.trigger(p, fix, {timeout = 1}) end)
  t.ok(said.message:find(reason, 1, true), how .. ": " .. said.message)
  t.unchanged(c.pid, before)
  c:ask("dozen", "12\n", {reject = "13"})
  t.unharmed(c.pid)
end
