--- SUSE's tool on a target whose threads hold locks most of the time: every run of an entry comes to its end, done or
--- "not now", and the target goes on.
local t = require "ulp.scenario"

--- @param target table what to start
--- @param tries integer runs of the tool
--- @param container string
--- @param look fun(c) fails when the target has suffered
--- @return table counts `ok`, `again`, `hang`, and `unrun`: a signal came first and that tool took it for the end
return function(target, tries, container, look)
  local c <close> = t.target(target)
  look(c)
  local tool <close> = t.spawn {t.path "suse_ulp", "--timeout", "10000", "--count", tostring(tries), "trigger",
    tostring(c.pid), container, timeout = 3000}
  local done, ok, again, unrun, hang, other = tool:expect(
    "tries=(%d+) ok=(%d+) again=(%d+) unrun=(%d+) hang=(%d+) other=(%d+)", {pattern = true})
  local counts = {ok = tonumber(ok), again = tonumber(again), unrun = tonumber(unrun), hang = tonumber(hang)}
  t.eq(tonumber(hang), 0, "runs that did not come to their end")
  t.eq(tonumber(other), 0, "unexpected errors")
  t.eq(tonumber(done), tries, "runs")
  tool:expect_exit(0)
  c:signal "CONT" -- a SIGSTOP with which that tool attached may stay behind (13.1 of its interface), and is not our affair
  t.unharmed(c.pid)
  look(c)
  return counts
end
