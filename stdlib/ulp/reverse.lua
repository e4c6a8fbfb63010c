--- Metadata to take a patch back, as a file of its own.
local M = {}

local core = require "ulp.core"

--- Writes the revert metadata of a container or of a metadata file, for tools that want it separately.
---
---     ulp.reverse "fix.ulp"      -- writes fix.rev
---
--- @param path string
--- @param options? {output: string?} the file to write; else the path with `.rev` for its ending
--- @return {path: string, source: string}?
--- @return ulp.Error? err
function M.reverse(path, options)
  local output = options and options.output or path:gsub("%.[^./]*$", "") .. ".rev"
  local bytes, err = core.revert_form(path)
  if not bytes then return nil, err end
  local done, problem = core.write_file(output, bytes)
  if not done then return nil, problem end
  return {path = output, source = path}
end

return M
