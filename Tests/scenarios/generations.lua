-- timeout: 240
-- Two containers for two libraries, switched by one store: in more than a million checked turns no reader of both ever sees
-- a mixture, while they are applied and reverted again and again.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"pairs", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local set = {t.patch "dozens_13", t.patch "hundreds_200"}
-- Member `universe` of __ulp_ext (pulp_abi.h).
local universe = p:unpack(assert(p:symbol "__ulp_ext") + 48, "<I8")
t.eq(p:unpack(universe, "<I8"), 1, "the universe before the first change")
c:ask("watch " .. universe, "watching\n")

local function tally()
  c:send "tell\n"
  local old, new, across, mixed = c:expect("old=(%d+) new=(%d+) across=(%d+) mixed=(%d+)%.\n", {pattern = true})
  t.eq(mixed, "0", "turns that saw a mixture")
  return tonumber(old), tonumber(new), tonumber(across)
end

local wanted, rounds, deadline = 1000000, 0, t.clock() + 200
local old, new
repeat
  rounds = rounds + 1
  t.state(ulp.trigger(p, set), "done", "round " .. rounds)
  t.state(ulp.revert(p, set), "done", "round " .. rounds)
  old, new = tally()
until t.clock() > deadline or old + new > wanted and math.min(old, new) > wanted // 4 and rounds >= 25
t.ok(old + new > wanted, ("%d old and %d new turns were checked in %d rounds"):format(old, new, rounds))
t.ok(math.min(old, new) > wanted // 4, ("both generations were seen: %d old, %d new"):format(old, new))
t.eq(p:unpack(universe, "<I8"), 1 + 2 * rounds, "one step of the universe for each change")
t.unharmed(c.pid)
