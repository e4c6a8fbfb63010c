-- The program itself is the target: an exported and a static function of its own, at whatever address and with notes in
-- several segments it was linked.
local t = require "ulp.scenario"
local ulp = require "ulp"

for _, program in ipairs {"teller", "teller_fixed", "teller_notes"} do
  local c <close> = t.target(program)
  local p <close> = assert(ulp.attach(c.pid))
  local function serves(tell, whisper)
    c:ask("tell", ("tell=%d\n"):format(tell), {reject = tell == 40 and "tell=3" or "tell=40"})
    c:ask("whisper", ("whisper=%d\n"):format(whisper), {reject = "whisper=" .. 15 - whisper})
    t.unharmed(c.pid)
  end
  local path = t.path(program)
  local function fix(name, units) return t.patch("teller_2", {as = program .. name, target = path, units = units}) end
  local tell, whisper = fix("_tell", {"tell:tell_3"}), fix("_whisper", {"whisper:whisper_2"})

  t.eq(assert(ulp.container(tell)).target_build_id, p.libs[1].build_id, "build ID of " .. program)
  serves(40, 7)
  for round = 1, 2 do
    local what = ("%s, round %d"):format(program, round)
    t.state(ulp.trigger(p, tell), "done", what)
    serves(3, 7)
    t.state(ulp.trigger(p, whisper), "done", what)
    serves(3, 8)
    t.eq(ulp.check(p, whisper).applied, true, what)
    t.state(ulp.revert(p, tell), "done", what)
    serves(40, 8)
    t.state(ulp.revert(p, whisper), "done", what)
    serves(40, 7)
  end
  -- Both as one set.
  t.state(ulp.trigger(p, {tell, whisper}), "done", program)
  serves(3, 8)
  t.state(ulp.revert(p, {tell, whisper}), "done", program)
  serves(40, 7)
end

-- The same patch does not fit the same source linked otherwise.
local c <close> = t.target "teller"
local foreign = t.patch("teller_2", {as = "foreign", target = t.path "teller_fixed", units = {"tell:tell_3"}})
t.refused("target.not_loaded", function() return ulp.trigger(c.pid, foreign) end)
c:ask("tell", "tell=40\n", {reject = "tell=3"})
