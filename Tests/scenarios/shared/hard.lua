--- Patches targets that are hard to patch, at the first command and without repetition, and asks them what they noticed.
local t = require "ulp.scenario"
local ulp = require "ulp"

local M = {}

--- What the target counted, after its failures and its number were compared.
function M.look(c, number)
  c:send "tell\n"
  local text = c:expect("rounds=%d+ failures=%d+[^\n]*dozen=%d+%.\n", {pattern = true})
  t.eq(tonumber(text:match "failures=(%d+)"), 0, "failures: " .. text)
  t.eq(tonumber(text:match "dozen=(%d+)"), number, "the number: " .. text)
  return {rounds = tonumber(text:match "rounds=(%d+)"), missing = tonumber(text:match "missing=(%-?%d+)")}
end

--- Old, new, old, new, old: each change is done when first asked for, and the program is looked at after each.
---@param case string[] program and arguments
---@param options? {rounds?: integer, target?: table, apply?: table, seen?: fun(c, number)}
function M.first_command(case, options)
  options = options or {}
  local request = {timeout = 300}
  for key, value in pairs(options.target or {}) do request[key] = value end
  local c <close> = t.target(table.move(case, 1, #case, 1, request))
  local p <close> = assert(ulp.attach(c.pid))
  local fix, name = t.patch "dozens_13", table.concat(case, " ")
  -- A long limit: on a loaded machine a good moment may come late, and being late is no harm.
  local apply = options.apply or {timeout = 300}
  local seen = options.seen or function() end
  M.look(c, 12)
  for round = 1, options.rounds or 5 do
    t.state(ulp.trigger(p, fix, apply), "done", ("%s: apply %d"):format(name, round))
    seen(c, M.look(c, 13))
    t.state(ulp.revert(p, fix, apply), "done", ("%s: revert %d"):format(name, round))
    seen(c, M.look(c, 12))
    t.unharmed(c.pid)
  end
  M.look(c, 12)
  for _ = 1, 50 do
    t.sleep(0.1)
    if M.look(c, 12).rounds > 0 then return end
  end
  error(name .. ": its threads do not go on", 0)
end

return M
