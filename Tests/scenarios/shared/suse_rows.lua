--- Runs scenarios with SUSE's runtime in their targets instead of ours: what they expect of a live patch holds for both.
local t = require "ulp.scenario"

--- @param names string[] files beside the scenario
--- @param runtime string? of the targets; the newest unless given
return function(names, runtime)
  t.runtime = t.path(runtime or "suse/libpulp.so")
  for _, name in ipairs(names) do
    local checks = t.checks
    local done, failure = xpcall(dofile, function(e)
      if type(e) == "table" and e.skip then return e end
      return debug.traceback(("%s: %s"):format(name, e), 2)
    end, ("%s/%s.lua"):format(t.here, name))
    if not done and not (type(failure) == "table" and failure.skip) then error(failure, 0) end
    t.ok(not done or t.checks > checks, name .. " compares something")
    collectgarbage()
  end
  t.runtime = nil
end
