-- timeout: 60
-- Eight busy threads whose arguments and registers are checked on every turn: nothing is lost, every thread goes on.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"threads", "8", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local odd = t.patch "mix_odd"

--- The tallies since the last question.
local function tally()
  c:send "tell\n"
  local old, new, wrong, registers, idle = c:expect(
    "old=(%d+) new=(%d+) wrong=(%d+) registers=(%d+) idle=(%d+) dozen=12%.\n", {pattern = true})
  t.eq(tonumber(wrong), 0, "results that no version makes")
  t.eq(tonumber(registers), 0, "registers that changed")
  return {old = tonumber(old), new = tonumber(new), idle = tonumber(idle)}
end

--- Tells what the threads do from now on: everything before is thrown away first. A busy machine may leave a thread
--- without a processor for a while, so there is more than one look before one counts as idle.
local function over(seconds)
  tally()
  local seen
  for _ = 1, 6 do
    t.sleep(seconds)
    seen = tally()
    if seen.idle == 0 then break end
    seconds = 2 * seconds
  end
  return seen
end

local first = over(0.3)
t.ok(first.old > 0 and first.new == 0, "only the old version runs before")
for round = 1, 10 do
  t.state(ulp.trigger(p, odd), "done", "round " .. round)
  local after = over(0.2)
  t.eq({after.old, after.idle}, {0, 0}, "old results, idle threads")
  t.ok(after.new > 0, "the new version runs")
  t.unharmed(c.pid)
  t.state(ulp.revert(p, odd), "done", "round " .. round)
  local back = over(0.2)
  t.eq({back.new, back.idle}, {0, 0}, "new results, idle threads")
  t.ok(back.old > 0, "the old version runs")
  t.unharmed(c.pid)
end
