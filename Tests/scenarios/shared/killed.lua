--- What must be true of a target whose tracer was killed in the middle of applying a patch: it serves the old or the new
--- number, nothing of it is stopped or traced, and the next command brings it to a known state.
local t = require "ulp.scenario"
local ulp = require "ulp"

---@param c ulp.Spawned a target that answers "dozen" with a number
---@param fix string
---@param where string for the report
return function(c, fix, where)
  t.unharmed(c.pid)
  c:send "dozen\n"
  local number = c:expect("(%d+)\n", {pattern = true})
  t.ok(number == "12" or number == "13", ("%s: serves old or new, not %s"):format(where, number))

  local p <close> = assert(ulp.attach(c.pid))
  local result = ulp.trigger(p, fix)
  local works = result.state == "done" or result.state == "already"
  t.ok(works, ("%s: the next trigger works, not %s"):format(where, result.state))
  c:ask("dozen", "13\n", {reject = "12"})
  t.state(ulp.check(p, fix), "done", where)
  t.state(ulp.revert(p, fix), "done", where)
  c:ask("dozen", "12\n", {reject = "13"})
  t.eq(#ulp.patches(p), 0, where .. ": nothing is left applied")
  t.unharmed(c.pid)
  return number
end
