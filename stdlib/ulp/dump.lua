--- What is in a live patch.
local M = {}

local core = require "ulp.core"

--- A live patch as a table. `ulp.pack` makes the same metadata of it again, byte for byte: the patch id is carried over and
--- not computed anew, and comments are kept as they are.
--- @class ulp.Dump
--- @field kind "container"|"apply"|"revert" a shared object, or a metadata file of its own
--- @field path string
--- @field id string 64 hexadecimal digits
--- @field target string
--- @field target_build_id string
--- @field units? {old_name: string, new_name: string, old_address: integer, new_address: integer?, new_size: integer?}[]
--- @field references? {target_name: string, name: string, target_offset: integer, patch_offset: integer, tls: boolean}[]
--- @field dependencies? string[] ids
--- @field container? string of a metadata file: the shared object that it belongs to
--- @field build_id? string of a container, as all that follows
--- @field comments? string
--- @field labels? string[] bug and vulnerability numbers in the comments
--- @field constructors? string[]
--- @field undefined? string[] `name` or `name@version`
--- @field needed? string[]
--- @field revertible? boolean
--- @field device? integer
--- @field inode? integer
--- @field warnings? string[]

--- Reads a container, or a metadata file (`.ulp`, `.rev`).
---
---     print(ulp.dump "fix.so".labels[1])
---
--- @param path string
--- @return ulp.Dump?
--- @return ulp.Error? err
function M.dump(path)
  local file = io.open(path, "rb")
  local first = file and file:read(1)
  if file then file:close() end
  if first == "\1" or first == "\2" then return core.metadata_file(path) end
  local container, err = core.container(path)
  if not container then return nil, err end
  return container:record()
end

local function hex(value) return ("0x%x"):format(value) end

--- A dump for people.
--- @param dump ulp.Dump
--- @return string
function M.text(dump)
  local clean = require "ulp.render.pretty".clean
  local lines = {}
  local function add(name, value)
    if value ~= nil and value ~= "" then lines[#lines + 1] = ("%-16s %s"):format(name .. ":", clean(tostring(value))) end
  end
  local function list(name, values)
    if values and #values > 0 then add(name, table.concat(values, ", ")) end
  end
  add(dump.kind == "container" and "container" or "metadata", dump.path)
  if dump.kind ~= "container" then add("kind", dump.kind) end
  add("of container", dump.container)
  add("patch id", dump.id)
  add("build id", dump.build_id)
  add("target", dump.target)
  add("target build id", dump.target_build_id)
  for _, unit in ipairs(dump.units or {}) do
    local where = unit.new_address and (" (%s, %d bytes)"):format(hex(unit.new_address), unit.new_size) or ""
    add("function", ("%s at %s -> %s%s"):format(unit.old_name, hex(unit.old_address), unit.new_name, where))
  end
  for _, reference in ipairs(dump.references or {}) do
    add("reference", ("%s%s at %s -> %s at %s"):format(reference.target_name, reference.tls and " (thread-local)" or "",
      hex(reference.target_offset), reference.name, hex(reference.patch_offset)))
  end
  for _, id in ipairs(dump.dependencies or {}) do add("depends on", id) end
  list("labels", dump.labels)
  for line in (dump.comments or ""):gmatch "[^\n]+" do add("comment", line) end
  list("constructors", dump.constructors)
  list("needs symbols", dump.undefined)
  list("needs libraries", dump.needed)
  for _, warning in ipairs(dump.warnings or {}) do add("warning", warning) end
  return table.concat(lines, "\n")
end

return M
