-- timeout: 60
-- Every thread reaches its own instance of a private thread-local variable, however the description names it.
local t = require "ulp.scenario"
local ulp = require "ulp"
local references = t.shared "references"

local offset = references.explicit("#%", "libtenant.so.0", "mine", "tenant_2.so", "mine_ref")
t.ok(references.offset("libtenant.so.0", "mine") > 0, "the variable is not at the start of the block")

for way, reference in pairs {omitted = "#%mine:mine_ref", explicit = offset} do
  local fix = t.patch("tenant_2", {as = way, units = {"tenant_get:tenant_get_2", reference}})
  local c <close> = t.target "tenants"
  local p <close> = assert(ulp.attach(c.pid))
  --- The tallies since the last question.
  local function tally()
    c:send "tell\n"
    local old, new, wrong = c:expect("old=(%d+) new=(%d+) wrong=(%d+)%.\n", {pattern = true})
    t.eq(wrong, "0", "numbers of another thread")
    return tonumber(old), tonumber(new)
  end
  --- Calls from now on are all old, or all new. A thread that lost its processor between a call before and counting it
  --- counts that one later: one for each of the six threads, and no more.
  local function only(is_new)
    local late = 0
    tally()
    t.wait_until(function()
      t.sleep(0.05)
      local old, new = tally()
      late = late + (is_new and old or new)
      t.ok(late <= 6, ("%d calls of the other version"):format(late))
      return (is_new and new or old) > 0
    end, "calls of this version")
    c:ask("main", is_new and "main=-99\n" or "main=99\n", {reject = is_new and "main=99" or "main=-99"})
    t.unharmed(c.pid)
  end
  only(false)
  for round = 1, 3 do
    t.state(ulp.trigger(p, fix), "done", ("%s, round %d"):format(way, round))
    only(true)
    t.state(ulp.revert(p, fix), "done", ("%s, round %d"):format(way, round))
    only(false)
  end
end
