--- Making containers.
local M = {}

local core = require "ulp.core"
local err = require "ulp.error"

--- The container that a description names: its first line that is neither blank nor a comment.
local function container_of(description)
  local file, message = io.open(description, "rb")
  if not file then err.raise("file.unreadable", message, {path = description}) end
  for line in file:lines() do
    if line ~= "" and line:sub(1, 1) ~= "!" then
      file:close()
      return line
    end
  end
  file:close()
  err.raise("description.syntax", ("%s:1:1: the path of the container expected"):format(description), {path = description})
end

local function copy(from, to)
  local source, message = io.open(from, "rb")
  if not source then err.raise("file.unreadable", message, {path = from}) end
  local bytes = source:read "a"
  source:close()
  local target, why = io.open(to, "wb")
  if not target then err.raise("file.unwritable", why, {path = to}) end
  local done = target:write(bytes) and target:close()
  if not done then err.raise("file.unwritable", ("cannot write %s"):format(to), {path = to}) end
end

--- @class ulp.PackOptions
--- @field container? string the shared object, instead of the description's first line
--- @field target? string the target library, instead of the description's `@` line
--- @field output? string pack a copy of the shared object under this name

--- Puts the metadata that a description asks for into its shared object.
---
---     local container = assert(ulp.pack "fix.dsc")
---
--- @param description string path of the description
--- @param options? ulp.PackOptions
--- @return ulp.Container?
--- @return ulp.Error? err
function M.pack(description, options)
  options = options or {}
  local container = options.container
  if options.output then
    local done, failure = pcall(function() copy(container or container_of(description), options.output) end)
    if not done then return nil, failure end
    container = options.output
  end
  return core.pack(description, {container = container, target = options.target})
end

return M
