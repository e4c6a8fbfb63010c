-- timeout: 120
-- SUSE's runtime disables itself when its caller meets a contended loader lock, and answers EAGAIN while anybody allocates.
-- In a program that forks or makes threads all the time, our shell waits for a moment without either: every change succeeds
-- and it stays usable. Where nothing but allocating or loading goes on there is no such moment: nothing is done, and harmed.
local t = require "ulp.scenario"
local ulp = require "ulp"

local dozens = t.patch "dozens_13"
for _, target in ipairs {{"tumult", "fork", "2"}, {"tumult", "join", "2"}} do
  local c <close> = t.target {preload = t.path "suse/libpulp.so", timeout = 40, table.unpack(target)}
  local p <close> = assert(ulp.attach(c.pid))
  for round = 1, 3 do
    t.state(ulp.trigger(p, dozens, {timeout = 20}), "done", target[2] .. ", apply " .. round)
    t.eq(p:runtime():error_state(), 0, target[2] .. ": the runtime is usable")
    t.state(ulp.revert(p, dozens, {timeout = 20}), "done", target[2] .. ", revert " .. round)
  end
  t.eq(p:runtime():error_state(), 0, target[2] .. ": the runtime is usable")
  t.unharmed(c.pid)
end

for _, work in ipairs {"malloc", "dlopen"} do
  local c <close> = t.target {"churn", work, "2", preload = t.path "suse/libpulp.so", timeout = 40}
  local p <close> = assert(ulp.attach(c.pid))
  local result, refusal = ulp.try_trigger(p, dozens, {timeout = 2})
  if not result then t.ok(refusal.code == "carrier.none" or refusal.code == "process.unstoppable", tostring(refusal)) end
  c:ask("tell", "failures=0 dozen=" .. (result and 13 or 12) .. ".")
  t.eq(p:runtime():error_state(), 0, work .. ": the runtime is usable")
  t.unharmed(c.pid)
end
