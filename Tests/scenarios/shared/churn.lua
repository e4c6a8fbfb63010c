--- Patches a target whose threads are nearly always inside the allocator or the loader: the program must go on, and every
--- single operation must succeed.
local t = require "ulp.scenario"
local ulp = require "ulp"

return function(what)
  local c <close> = t.target {"churn", what, "4", timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  local fix = t.patch "dozens_13"
  local function serves(dozen)
    c:ask("tell", "failures=0 dozen=" .. dozen .. ".", {reject = dozen == 12 and "dozen=13" or "dozen=12"})
  end
  serves(12)
  for round = 1, 10 do
    t.state(ulp.trigger(p, fix), "done", "round " .. round)
    serves(13)
    t.state(ulp.revert(p, fix), "done", "round " .. round)
    serves(12)
    t.unharmed(c.pid)
  end
  c:ask("tell", "rounds=")
  t.sleep(0.2)
  c:send "tell\n"
  t.ok(tonumber((c:expect("rounds=(%d+)", {pattern = true}))) > 0, "the threads go on")
end
