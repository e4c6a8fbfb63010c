--- Containers whose metadata was changed by hand: what no packer writes.
local t = require "ulp.scenario"

local M = {}

local function objcopy(option, container)
  local child <close> = t.spawn {"objcopy", option, container}
  child:expect_exit(0)
end

--- The bytes of a container's `.ulp` section.
---@param container string
---@return string
function M.read(container)
  local section = t.directory() .. "/section"
  objcopy("--dump-section=.ulp=" .. section, container)
  return t.read_file(section)
end

--- Puts other bytes into a container's `.ulp` section.
---@param container string
---@param bytes string
---@return string container
function M.write(container, bytes)
  objcopy("--update-section=.ulp=" .. t.write_file(t.directory() .. "/section", bytes), container)
  return container
end

local function text(name) return string.pack("<s4", name .. "\0") end

--- One function to be replaced, as it is in the metadata.
function M.unit(old, new, address) return text(old) .. text(new) .. string.pack("<I8", address) end

--- One reference, as it is in the metadata.
function M.reference(variable, pointer, target_offset, patch_offset, is_tls)
  return text(variable) .. text(pointer) .. string.pack("<I8I8B", target_offset, patch_offset, is_tls and 1 or 0)
end

--- Replaces everything behind the target's name: units and references are lists of what the functions above return.
---@param container string
---@param units string[]
---@param references? string[]
---@return string container
function M.rewrite(container, units, references)
  local bytes = M.read(container)
  -- type, patch id, build ID and name of the target
  local _, _, _, head = string.unpack("<c33s4s4", bytes)
  references = references or {}
  return M.write(container, bytes:sub(1, head - 1) .. string.pack("<I4", #units) .. table.concat(units)
    .. string.pack("<I4I4", 0, #references) .. table.concat(references))
end

return M
