--- Runs ulpsh under the names of libpulp's tools.
local t = require "ulp.scenario"
local core = require "ulp.core"

local M = {}

--- A link to a program under another name.
---@param name string
---@param program? string ulpsh unless given
---@return string path
function M.link(name, program)
  local path = t.directory() .. "/" .. name
  local link <close> = t.spawn {"/bin/ln", "-sf", program or core.executable_path, path}
  link:expect_exit(0)
  return path
end

--- Runs ulpsh under a name; its output after it ended with the status. `options` are those of `ulp.spawn`.
---@param name string
---@param status integer
---@param arguments string[]
---@param options? table
---@return string
function M.run(name, status, arguments, options)
  local request = {M.link(name), timeout = 30}
  for key, value in pairs(options or {}) do request[key] = value end
  table.move(arguments, 1, #arguments, 2, request)
  local tool <close> = t.spawn(request)
  tool:expect_exit(status)
  return tool:drain()
end

--- `M.run` for the name `ulp`.
---@param status integer
---@param ... string
---@return string
function M.ulp(status, ...) return M.run("ulp", status, {...}) end

--- A text as a pattern that means it.
---@param text string
---@return string
function M.literal(text) return (text:gsub("%p", "%%%0")) end

return M
