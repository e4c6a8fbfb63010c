-- timeout: 240
-- slow
-- The tool is killed from outside after a random time, until that has hit fifty, while the target's threads are busy: no
-- result, register or thread of the target is lost.
local t = require "ulp.scenario"
local ulp = require "ulp"

local fix = t.patch "mix_odd"
local c <close> = t.target {"threads", "4", timeout = 20}

local function tally()
  c:send "tell\n"
  local old, new, wrong, registers, idle = c:expect(
    "old=(%d+) new=(%d+) wrong=(%d+) registers=(%d+) idle=(%d+) dozen=12%.\n", {pattern = true})
  t.eq({wrong, registers}, {"0", "0"}, "wrong results, lost registers")
  return tonumber(old), tonumber(new), tonumber(idle)
end

local function start()
  return t.ulpsh {"-e", ("print(ulp.trigger(ulp.attach(%d), %q).state)"):format(c.pid, fix), timeout = 20}
end

-- How long a whole apply takes here, start of the tool included: the kills are spread over it.
local began = t.clock()
do
  local tool <close> = start()
  tool:expect "done\n"
  tool:expect_exit(0)
end
local whole = t.clock() - began
t.state(ulp.revert(assert(ulp.attach(c.pid)), fix), "done")

math.randomseed(os.time())
local killed, rounds = 0, 0
while killed < 50 and rounds < 300 do
  rounds = rounds + 1
  local tool <close> = start()
  -- The first third is the start of the program, which touches nothing.
  t.sleep(whole * (0.3 + 0.7 * math.random()))
  tool:signal "KILL"
  local exit = t.ok(tool:wait(), "the tool ends")
  -- How long an apply takes changes with what else the machine does: half of the kills are to come before its end.
  if exit.signal == 9 then
    killed, whole = killed + 1, whole * 1.1
  else
    whole = whole * 0.9
  end
  t.unharmed(c.pid)

  tally()
  local old, new, idle
  for look = 1, 7 do
    t.sleep(0.01 * 2 ^ look)
    old, new, idle = tally()
    -- A thread that had no processor since counts a call of before now: one for each, once.
    if idle < 4 and (old == 0 or new == 0) then break end
    t.ok(math.min(old, new) <= 4, "calls of before are one for each thread")
  end
  t.ok((old == 0) ~= (new == 0), ("round %d: old everywhere or new everywhere, not %d and %d"):format(rounds, old, new))
  t.ok(idle < 4, "the threads go on")

  local p <close> = assert(ulp.attach(c.pid))
  local result = ulp.trigger(p, fix)
  t.ok(result.state == "done" or result.state == "already", ("round %d: the next trigger works"):format(rounds))
  t.state(ulp.check(p, fix), "done")
  t.state(ulp.revert(p, fix), "done")
  t.unharmed(c.pid)
end
print(("%d of %d were killed before their end"):format(killed, rounds))
t.eq(killed, 50, "tools that were killed in the middle")
