--- Bad input: a clear error with code and hint, and nothing changed in the target.
local t = require "ulp.scenario"
local ulp = require "ulp"

local M = {}

--- Tries to apply `patch` and expects the refusal `code`; the process must be the same afterwards, byte for byte.
---@param c ulp.Spawned
---@param patch string
---@param code string
function M.refuses(c, patch, code)
  local before = t.snapshot(c.pid)
  local said = t.refused(code, function()
    local p <close> = assert(ulp.attach(c.pid))
    return ulp.trigger(p, assert(ulp.container(patch)))
  end)
  t.unchanged(c.pid, before)
  return said
end

--- The numbers are the old ones, and a proper patch is still welcome.
function M.still_works(c)
  c:ask("dozen", "12\n", {reject = "13"})
  c:ask("hundred", "100\n")
  local p <close> = assert(ulp.attach(c.pid))
  t.state(ulp.trigger(p, t.patch "dozens_13"), "done", "a proper patch afterwards")
  c:ask("dozen", "13\n", {reject = "12"})
end

return M
