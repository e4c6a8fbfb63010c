--- Making containers.
local M = {}

local core = require "ulp.core"
local err = require "ulp.error"

local function read(path)
  local file, message = io.open(path, "rb")
  if not file then err.raise("file.unreadable", message, {path = path}) end
  local bytes, why = file:read "a"
  file:close()
  return bytes or err.raise("file.unreadable", why, {path = path})
end

--- The symbols in a JSON file that `extract` wrote.
local function extracted(path)
  local json_file = require "ulp.json_file"
  local object = assert(json_file.read(path))
  local library = type(object.library) == "table" and object.library
  if not library then error(json_file.malformed(path, "it has no object 'library'"), 0) end
  for _, name in ipairs {"name", "buildid"} do
    if type(library[name]) ~= "string" then error(json_file.malformed(path, ("'%s' is no string"):format(name)), 0) end
  end
  if type(library.symbols) ~= "table" then error(json_file.malformed(path, "'symbols' is no list"), 0) end
  return {path = path, name = library.name, buildid = library.buildid, symbols = library.symbols}
end

--- Packs what a description says. A target in JSON is read here.
local function pack_description(path, container, options)
  local request = {container = container, target = options.target, debuginfo = options.debuginfo}
  local target, where = options.target, nil
  if not target then
    local description, problem = core.description(path)
    if not description then error(problem, 0) end
    target = description.target
    where = path
  end
  local json_file = require "ulp.json_file"
  if not json_file.is_object(target) then return core.pack(path, request) end
  local done, symbols = pcall(extracted, target)
  if not done then
    -- The mistake is the target line's, as with any other file that it names.
    if where and err.is(symbols) then symbols.description = where end
    error(symbols, 0)
  end
  request.extract = symbols
  return json_file.checked(target, function() return core.pack(path, request) end)
end

--- Puts metadata that is there as a table into a container.
local function pack_table(metadata, container, source)
  if type(metadata.id) ~= "string" then error(require "ulp.json_file".malformed(source, "it is no output of `dump`"), 0) end
  local target = container or metadata.path
  if type(target) ~= "string" then
    err.raise("usage", "the metadata names no container", {hint = "give one with `container`"})
  end
  return require "ulp.json_file".checked(source, function() return core.embed(metadata, target) end)
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

--- @class ulp.PackOptions
--- @field container? string the shared object, instead of the description's first line
--- @field target? string the target library or its symbols as JSON, instead of the description's `@` line
--- @field output? string pack a copy of the shared object under this name
--- @field debuginfo? string separate debug information of the target, if it is where nobody looks for it
--- @field metadata? string also write the metadata as a file of its own (`.ulp`), for older tools

--- @class ulp.Description
--- @field path string
--- @field container string
--- @field target string
--- @field dependencies string[]
--- @field units {old_name: string, new_name: string}[]
--- @field references {target_name: string, name: string, tls: boolean, target_offset: integer?, patch_offset: integer?}[]
--- @field comments string[]

--- What packing did.
--- @class ulp.PackResult
--- @field path string the container
--- @field id string
--- @field target string
--- @field target_build_id string
--- @field units {old_name: string, new_name: string, old_address: integer}[]
--- @field references {target_name: string, name: string, target_offset: integer, patch_offset: integer, tls: boolean}[]
--- @field changed boolean false if the file already was like this
--- @field warnings string[] what is allowed and will not work everywhere

--- Puts live patch metadata into a shared object: as a description asks for it, or as `ulp.dump` gave it.
---
---     local container = assert(ulp.pack "fix.dsc")
---
--- A mistake in a description has `line` and `column`; several have `mistakes`, a list of errors.
--- @param description string|ulp.Dump path of a description, or of what `dump --json` wrote; or a table from `ulp.dump`
--- @param options? ulp.PackOptions
--- @return ulp.Container?
--- @return ulp.PackResult|ulp.Error result or error
function M.pack(description, options)
  options = options or {}
  local metadata, source = description, "the table"
  local copied
  local function work()
    local json_file = require "ulp.json_file"
    if type(description) == "string" then
      metadata = json_file.is_object(description) and assert(json_file.read(description)) or nil
      source = description
    end
    local container = options.container
    if options.output then
      local origin = container or metadata and metadata.path or assert(core.description(description)).container
      local bytes = read(origin)
      copied = not exists(options.output)
      assert(core.write_file(options.output, bytes))
      container = options.output
    end
    local packed, result
    if metadata then
      packed, result = pack_table(metadata, container, source)
    else
      packed, result = pack_description(description, container, options)
    end
    if packed and options.metadata then
      assert(core.write_file(options.metadata, assert(core.wire_form(packed.path))))
    end
    if not packed then error(result, 0) end
    return packed, result
  end
  local done, packed, result = pcall(work)
  if done then return packed, result end
  if copied then os.remove(options.output) end
  if err.is(packed) and packed.code ~= "usage" then return nil, packed end
  error(packed, 0)
end

return M
