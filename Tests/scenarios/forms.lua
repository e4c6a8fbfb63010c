-- Every form of a prepared entry: one-byte nops, a two-byte nop, endbr64, and more room than needed.
local t = require "ulp.scenario"
local ulp = require "ulp"

for _, form in ipairs {"number", "number_two_byte", "number_endbr", "number_wide", "number_wide_endbr"} do
  local c <close> = t.target {"caller", t.path("lib" .. form .. ".so.0")}
  local p <close> = assert(ulp.attach(c.pid))
  local fix = t.patch(form .. "_2")
  local function serves(number, other)
    c:ask("before", "before=10\n")
    c:ask("number", ("number=%d\n"):format(number), {reject = "number=" .. other})
    c:ask("after", "after=11\n")
    t.unharmed(c.pid)
  end
  serves(1, 2)
  for round = 1, 2 do
    t.state(ulp.trigger(p, fix), "done", ("%s, round %d"):format(form, round))
    serves(2, 1)
    t.state(ulp.revert(p, fix), "done", ("%s, round %d"):format(form, round))
    serves(1, 2)
  end
end
