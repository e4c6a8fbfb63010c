--- What a patch's source says about itself (`ulp.h`), and names as people write them.
local M = {}

local compiler = require "ulp.authoring.compiler"
local err = require "ulp.error"

--- @class ulp.cc.Note
--- @field kind "="|"#"|"%"|"!" replacement, variable, thread-local variable, comment
--- @field old string name in the target; the text of a comment
--- @field new string name in the patch

-- Notes in objects -----------------------------------------------------------------------------------------------------

local section_name = ".ulp.units"

--- The contents of a section of a 64-bit little-endian ELF object; nil if there is none. Offsets: ELF-64 object file
--- format, "File header" and "Sections".
local function section(image, name)
  local table_offset = string.unpack("<I8", image, 0x28 + 1)
  local entry_size, entries, names_index = string.unpack("<I2I2I2", image, 0x3A + 1)
  local function header(index)
    local offset, kind, _, _, place, size = string.unpack("<I4I4I8I8I8I8", image, table_offset + index * entry_size + 1)
    return offset, kind, place, size
  end
  local _, _, names_place = header(names_index)
  for index = 1, entries - 1 do
    local offset, _, place, size = header(index)
    if string.unpack("z", image, names_place + offset + 1) == name then return image:sub(place + 1, place + size) end
  end
end

--- A name that was written in quotes, without them.
local function unquoted(text) return text:match '^"(.*)"$' or text end

--- The notes of an object that the compiler has made of a source with `ulp.h`.
--- @param path string
--- @return ulp.cc.Note[]
function M.notes(path)
  local image = compiler.read(path)
  local read, text = pcall(section, image, section_name)
  if image:sub(1, 6) ~= "\127ELF\2\1" or not read then
    err.raise("cc.failed", ("the compiler made something else than an object for x86-64: %s"):format(path), {path = path})
  end
  local notes = {}
  for kind, old, new in (text or ""):gmatch "(.)([^\n%z]*)\n([^%z]*)%z" do
    notes[#notes + 1] = {kind = kind, old = unquoted(old), new = unquoted(new)}
  end
  return notes
end

-- Units as options -----------------------------------------------------------------------------------------------------

--- Splits `old:new` at its only single colon; `::` belongs to a name.
local function pair_of(text)
  local marked = text:gsub("::", "\1\1")
  local old, new = marked:match "^([^:]+):([^:]+)$"
  if not old then return nil end
  return (old:gsub("\1", ":")), (new:gsub("\1", ":"))
end

local function bad(option, value)
  err.raise("usage", ("%s: expected OLD:NEW, found %s"):format(option, tostring(value)))
end

--- The notes that an option asks for: a table `{old = "new"}`, or a list of texts `old:new`. In a list a text may begin
--- with a sign as in a description: `#` for a variable, `#%` for a thread-local one.
--- @param option string the option's name, for errors
--- @param given table|nil
--- @param kind "="|"#" what a text without a sign means
--- @return ulp.cc.Note[]
function M.given(option, given, kind)
  if given == nil then return {} end
  if type(given) ~= "table" then bad(option, given) end
  local notes, names = {}, {}
  for key, value in pairs(given) do
    if type(value) ~= "string" then bad(option, value) end
    if math.type(key) ~= "integer" then names[#names + 1] = tostring(key) end
  end
  for _, text in ipairs(given) do
    local sign, rest = text:match "^(#?%%?)(.*)$"
    local old, new = pair_of(rest)
    if not old then bad(option, text) end
    notes[#notes + 1] = {kind = sign:find "%%" and "%" or sign == "#" and "#" or kind, old = old, new = new}
  end
  table.sort(names) -- the same request gives the same bytes
  for _, name in ipairs(names) do
    local sign, old = name:match "^(#?%%?)(.*)$"
    notes[#notes + 1] = {kind = sign:find "%%" and "%" or sign == "#" and "#" or kind, old = old, new = given[name]}
  end
  return notes
end

-- Names -----------------------------------------------------------------------------------------------------------------

local function lines_of_nm(path, options)
  local command = table.move(options, 1, #options, 3, {"nm", "-p"})
  command[#command + 1] = "--"
  command[#command + 1] = path
  local output, found = compiler.run(command), {}
  for line in output:gmatch "[^\n]+" do
    local address, kind, name = line:match "^(%x+) (%a) (.+)$"
    if address then found[#found + 1] = {address = address, kind = kind, name = name} end
  end
  return found
end

--- A C++ name without the blanks that mean nothing: only those between two words stay.
local function normal(name)
  return (name:gsub("%s+", " "):gsub(" ([^%w_])", "%1"):gsub("([^%w_]) ", "%1"):gsub("^ ", ""):gsub(" $", ""))
end

--- Whether a demangled name is what a person means by `wanted`: all of it, or without its return type or parameters.
local function means(demangled, wanted)
  local from = 1
  while true do
    local first, last = demangled:find(wanted, from, true)
    if not first then return false end
    local before, after = demangled:sub(first - 1, first - 1), demangled:sub(last + 1, last + 1)
    if (first == 1 or before:find "[ *&>]") and (after == "" or after == "(") then return true end
    from = first + 1
  end
end

--- @class ulp.cc.Symbols what `nm` tells of a file, read when first needed
--- @field path string
local Symbols = {}
Symbols.__index = Symbols

--- @param path string
--- @return ulp.cc.Symbols
function M.symbols(path) return setmetatable({path = path}, Symbols) end

local function load(self)
  if self.all then return self.all end
  self.all = {}
  -- A stripped library has its dynamic symbols alone.
  for _, options in ipairs {{"-C"}, {"-C", "-D"}} do
    local plain = lines_of_nm(self.path, {options[2]})
    if #plain > 0 then
      local readable = lines_of_nm(self.path, options)
      for index, symbol in ipairs(plain) do
        symbol.readable = readable[index] and readable[index].name or symbol.name
        self.all[index] = symbol
      end
      break
    end
  end
  return self.all
end

--- The symbol that a person means by a name. Returns the name itself if nothing has it: the packer tells that better.
---
--- Raises `target.function_ambiguous` if several different functions or variables may be meant.
--- @param name string
--- @return string
function Symbols:resolve(name)
  local wanted, exact, found = normal(name), {}, {}
  for _, symbol in ipairs(load(self)) do
    if symbol.name == name then return name end
    local shown = normal(symbol.readable)
    local list = shown == wanted and exact or means(shown, wanted) and found
    -- Parts that the compiler made of a function are no functions that a person means.
    if symbol.readable:find(" [clone ", 1, true) then list = nil end
    if list then list[#list + 1] = symbol end
  end
  if #exact > 0 then found = exact end
  for _, symbol in ipairs(found) do
    -- Two names of one address are one function: constructors have such twins.
    if symbol.address ~= found[1].address then
      local names = {}
      for index, candidate in ipairs(found) do names[index] = candidate.readable end
      local message = ("%s may be each of these in %s: %s"):format(name, self.path, table.concat(names, "; "))
      err.raise("target.function_ambiguous", message, {
        path = self.path, candidates = names, hint = "give the parameters too, or the symbol as `nm` shows it",
      })
    end
  end
  return found[1] and found[1].name or name
end

return M
