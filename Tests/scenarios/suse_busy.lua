-- timeout: 240
-- SUSE's runtime disables itself when its caller meets a contended loader lock, and answers EAGAIN while anybody allocates. Our
-- shell holds the threads that are outside until the others are, too: every change succeeds, also where nothing but allocating,
-- loading, forking or starting threads goes on, and the runtime stays usable.
local t = require "ulp.scenario"
local ulp = require "ulp"

local dozens = t.patch "dozens_13"

--- Old, new, old in a target that does nothing but `work`.
local function changes(rounds, target)
  local name = table.concat(target, " ")
  local c <close> = t.target {preload = t.path "suse/libpulp.so", timeout = 60, table.unpack(target)}
  local p <close> = assert(ulp.attach(c.pid))
  for round = 1, rounds do
    local what = ("%s, round %d"):format(name, round)
    -- A long limit: on a loaded machine a good moment may come late, and being late is no harm.
    t.state(ulp.trigger(p, dozens, {timeout = 60}), "done", what)
    t.eq({p:runtime():error_state(), p:runtime():state()}, {0, "idle"}, what)
    if target[1] == "churn" then c:ask("tell", "failures=0 dozen=13.", {reject = "dozen=12"}) end
    t.state(ulp.revert(p, dozens, {timeout = 60}), "done", what)
    if target[1] == "churn" then c:ask("tell", "failures=0 dozen=12.", {reject = "dozen=13"}) end
    t.unharmed(c.pid)
  end
  t.eq({p:runtime():error_state(), p:runtime():state()}, {0, "idle"}, name)
  if target[1] ~= "churn" then return end
  t.sleep(0.2)
  c:send "tell\n"
  t.ok(tonumber((c:expect("rounds=(%d+)", {pattern = true}))) > 0, "the threads go on")
end
changes(3, {"tumult", "fork", "2"})
changes(3, {"tumult", "join", "2"})
for _, work in ipairs {"malloc", "trim"} do changes(3, {"churn", work, "2"}) end
changes(3, {"churn", "dlopen", "1"})
changes(2, {"churn", "malloc", "4"})

-- Several threads that do nothing but load are rarely outside at once, and who may not be held for long is not: where there is
-- no moment, nothing happens.
do
  local c <close> = t.target {"churn", "dlopen", "4", preload = t.path "suse/libpulp.so", timeout = 40}
  local p <close> = assert(ulp.attach(c.pid))
  local result, refusal = ulp.try_trigger(p, dozens, {timeout = 0.3, max_pause = "50us"})
  local codes = {["carrier.none"] = true, ["switch.max_pause"] = true, ["process.unstoppable"] = true}
  t.ok(result and result.pause_us < 50000 or codes[refusal.code], tostring(refusal))
  t.eq(p:runtime():error_state(), 0, "the runtime is usable")
  t.unharmed(c.pid)
end
