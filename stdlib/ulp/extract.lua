--- The symbols of a library as JSON, from which patches can be packed where the library itself is not at hand.
local M = {}

local core = require "ulp.core"

--- @class ulp.Extract
--- @field name string file name of the library
--- @field buildid string
--- @field symbols {name: string, offset: integer, size: integer, st_info: integer, st_other: integer}[]
--- @field path string the library
--- @field debug_file string where the rest of the symbols came from; empty if from nowhere
--- @field output? string the JSON file, if one was written

--- The JSON of an extract, in the shape that SUSE's `ulp extract` gives it: two blanks a level, none behind a colon.
--- @param extract ulp.Extract
--- @return string
function M.json(extract)
  local quote = require "dkjson".quotestring
  local parts = {
    '{\n  "library":{\n    "name":', quote(extract.name), ',\n    "buildid":', quote(extract.buildid), ',\n    "symbols":[',
  }
  for index, symbol in ipairs(extract.symbols) do
    parts[#parts + 1] = index > 1 and "," or ""
    parts[#parts + 1] = ('\n      {\n        "name":%s,\n        "offset":%d,\n        "size":%d,\n        "st_info":%d,\n'
      .. '        "st_other":%d\n      }'):format(quote(symbol.name), symbol.offset, symbol.size, symbol.st_info, symbol.st_other)
  end
  parts[#parts + 1] = (#extract.symbols > 0 and "\n    " or "") .. "]\n  }\n}"
  return table.concat(parts)
end

--- Reads all symbols of a library.
---
---     ulp.extract("libdozen.so.0", {output = "libdozen.so.0.json"})
---
--- @param path string
--- @param options? {output: string?, debuginfo: string?} the JSON file to write; separate debug information
--- @return ulp.Extract?
--- @return ulp.Error? err
function M.extract(path, options)
  options = options or {}
  local extract, err = core.symbols_of(path, options.debuginfo)
  if not extract then return nil, err end
  if options.output then
    local done, problem = core.write_file(options.output, M.json(extract))
    if not done then return nil, problem end
    extract.output = options.output
  end
  return extract
end

return M
