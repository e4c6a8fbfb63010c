--- Patches a target that blocks in one system call. The wait must return what it would have returned, when it would have,
--- and never EINTR.
local t = require "ulp.scenario"
local ulp = require "ulp"

---@param call string
---@param timed boolean whether the wait ends by itself after its time
return function(call, timed)
  local milliseconds = 400
  local c <close> = t.target {"idle", call, tostring(milliseconds)}
  -- Tells how late the machine makes a thread that nobody disturbs.
  local control <close> = t.target {"idle", call, tostring(milliseconds)}
  local p <close> = assert(ulp.attach(c.pid))
  local fix = t.patch "dozens_13"

  local function report(from)
    from = from or c
    from:send "report\n"
    local waits, interrupted, failed, early, longest = from:expect(
      "waits=(%d+) interrupted=(%d+) failed=(%d+) early=(%d+) longest=(%d+)%.\n", {pattern = true})
    t.eq(tonumber(interrupted), 0, "waits that ended with EINTR")
    t.eq(tonumber(failed), 0, "waits that failed")
    t.eq(tonumber(early), 0, "waits that ended early")
    return tonumber(waits), tonumber(longest)
  end

  c:ask("dozen", "12\n", {reject = "13"})
  for _ = 1, 4 do
    t.state(ulp.trigger(p, fix), "done")
    c:ask("dozen", "13\n", {reject = "12"})
    t.unharmed(c.pid)
    t.sleep(0.07)
    t.state(ulp.revert(p, fix), "done")
    c:ask("dozen", "12\n", {reject = "13"})
    t.unharmed(c.pid)
  end

  if timed then
    -- At least two whole waits after the last operation, so that a stretched one has had its end.
    t.sleep(2.5 * milliseconds / 1000)
    local _, longest = report()
    local _, undisturbed = report(control)
    -- An interrupted wait may be restarted, but neither with its whole time again and again nor for ever.
    local limit = 3 * milliseconds * 1000 + 4 * math.max(0, undisturbed - milliseconds * 1000)
    t.ok(longest < limit, ("no wait took %d us instead of %d ms"):format(longest, milliseconds))
    t.wait_until(function() return report() >= 1 end, "the program goes on waiting")
  else
    t.eq((report()), 0, "waits that ended although nothing came")
    c:send "poke\n"
    local waits = t.wait_until(function()
      t.sleep(0.02)
      local count = report()
      return count > 0 and count
    end)
    t.eq(waits, 1, "waits that ended when something came")
  end
end
