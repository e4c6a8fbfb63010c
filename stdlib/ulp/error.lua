--- Errors as tables: `code`, `message`, `hint` and the facts of the failure.
---
--- Swift's errors have the same form and metatable, so a script need not know who failed.
local M = {}

local core = require "ulp.core"

--- @class ulp.Error
--- @field code string stable, dotted: `target.build_id`
--- @field message string what failed, on what, and why, in one line
--- @field hint string? what to do about it
--- @field pid integer?
--- Further fields are the facts of the failure.

--- Makes an error value. The code's own hint is used unless `facts.hint` is better.
---
--- ```lua
--- error(ulp.error.new("patch.blocked", "2 threads are inside inflate", {pid = p.pid}))
--- ```
--- @param code string
--- @param message string
--- @param facts table?
--- @return ulp.Error
function M.new(code, message, facts)
  local err = {}
  for name, value in pairs(facts or {}) do err[name] = value end
  local known = core.code(code)
  err.code, err.message = code, message
  err.hint = err.hint or known and known.hint
  return setmetatable(err, core.Error)
end

--- Raises an error with a code.
--- @param code string
--- @param message string
--- @param facts table?
function M.raise(code, message, facts)
  error(M.new(code, message, facts), 0)
end

--- Whether `value` is an error with a code, and with this one if `code` is given.
--- @param value any
--- @param code string?
--- @return boolean
function M.is(value, code)
  if type(value) ~= "table" or debug.getmetatable(value) ~= core.Error then return false end
  return code == nil or rawget(value, "code") == code
end

--- Whatever was raised, as an error with a code: `script.error` if it had none.
--- @param value any
--- @return ulp.Error
function M.from(value)
  if M.is(value) then return value end
  local meta = debug.getmetatable(value)
  local has_text = type(value) == "string" or type(value) == "number" or type(meta) == "table" and rawget(meta, "__tostring")
  local converted, text = pcall(tostring, value)
  return M.new("script.error", has_text and converted and text or ("error object is a " .. type(value) .. " value"))
end

return M
