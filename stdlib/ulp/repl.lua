--- What the prompt asks of Lua: completion (`__complete`) and how values look (`__pretty`).
---
--- Completion looks at tables raw and never calls an `__index` function, so that pressing TAB has no effect on a target.
local M = {}

--- How results are printed; see `ulp.render.pretty`. For example `require "ulp.repl".options.hex = true`.
M.options = {}

--- @diagnostic disable-next-line: lowercase-global
help = require "ulp.help".help -- luacheck: globals help

local keywords = {
  "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local", "nil", "not",
  "or", "repeat", "return", "then", "true", "until", "while",
}
local most_keys, most_levels = 20000, 16

--- Calls `visit(name, value)` for each string key of a table, without metamethods.
local function each_key(t, visit)
  local count = 0
  for name, value in next, t do
    if type(name) == "string" then visit(name, value) end
    count = count + 1
    if count >= most_keys then return end
  end
end

--- The names that a type offers for completion itself, if it does; nil otherwise.
local function offered(value, meta)
  local complete = rawget(meta, "__complete")
  if type(complete) ~= "function" then return nil end
  local done, names = pcall(complete, value)
  return done and type(names) == "table" and names or nil
end

--- Calls `visit(name, value)` for each member that is known without running code of the value's own.
local function each_member(value, visit)
  for _ = 1, most_levels do
    if type(value) == "table" then each_key(value, visit) end
    local meta = debug.getmetatable(value)
    if type(meta) ~= "table" then return end
    local members = rawget(meta, "__members")
    if type(members) == "table" then each_key(members, visit) end
    local names = offered(value, meta)
    if names then each_key(names, visit) end
    value = rawget(meta, "__index")
    if type(value) ~= "table" then return end
  end
end

--- `value[key]` as far as it is known without running code.
local function peek(value, key)
  for _ = 1, most_levels do
    if type(value) == "table" then
      local found = rawget(value, key)
      if found ~= nil then return found end
    end
    local meta = debug.getmetatable(value)
    if type(meta) ~= "table" then return nil end
    local members = rawget(meta, "__members")
    local member = type(members) == "table" and rawget(members, key)
    if type(member) == "function" then return member end
    value = rawget(meta, "__index")
    if type(value) ~= "table" then return nil end
  end
end

--- Whether the line ends inside a string (true), or inside a comment (nil).
local function in_string(line)
  local quote, i = nil, 1
  while i <= #line do
    local c = line:sub(i, i)
    if quote then
      if c == "\\" then i = i + 1 elseif c == quote then quote = nil end
    elseif c == '"' or c == "'" then
      quote = c
    elseif line:find("^%-%-", i) then
      return nil
    end
    i = i + 1
  end
  return quote ~= nil
end

--- Takes the keys of `a.b[1]["c"].` off the end of `text`, which ends in `.` or `:`. Nil if it is no plain path.
local function path_of(text)
  local keys = {}
  text = text:sub(1, -2)
  while true do
    local before, key = text:match "^(.-)%[(%d+)%]%s*$"
    if before then key = math.tointeger(key) end
    if not before then before, key = text:match "^(.-)%[\"([^\"]*)\"%]%s*$" end
    if not before then before, key = text:match "^(.-)%['([^']*)'%]%s*$" end
    if before then
      table.insert(keys, 1, key)
      text = before
    else
      before, key = text:match "^(.-)([%a_][%w_]*)%s*$"
      if not before then return nil end
      table.insert(keys, 1, key)
      local separator = before:match "[.:]%s*$"
      if not separator or before:match "%.%.%s*$" then return keys end
      text = before:gsub("[.:]%s*$", "")
    end
  end
end

--- The words that may replace the last one of `line`; with true as second result file names fit better.
--- @param line string up to the cursor
--- @return string[] words
--- @return boolean? files
function M.__complete(line)
  local quoted = in_string(line)
  if quoted then return {}, true end
  if quoted == nil then return {} end
  local before, word = line:match "^(.-)([%a_]?[%w_]*)$"
  local separator = before:match "[.:]$"
  if separator and before:match "%.%.$" then separator = nil end
  local words, seen = {}, {}
  local function visit(name, value)
    if seen[name] or name:sub(1, #word) ~= word or not name:match "^[%a_][%w_]*$" then return end
    local callable = type(value) == "function"
    if separator == ":" and not callable then return end
    if word == "" and name:sub(1, 2) == "__" then return end
    seen[name] = true
    words[#words + 1] = callable and name .. "(" or name
  end
  if separator then
    local keys = path_of(before)
    local value = keys and _G
    for _, key in ipairs(keys or {}) do value = peek(value, key) end
    if value ~= nil then each_member(value, visit) end
  else
    each_member(_G, visit)
    for _, keyword in ipairs(keywords) do visit(keyword, true) end
  end
  table.sort(words)
  return words
end

--- The results of a statement as text.
--- @param values any[] may have holes
--- @param count integer
--- @return string
function M.__pretty(values, count)
  local pretty = require "ulp.render.pretty".pretty
  local parts, size = {}, 0
  for i = 1, count do
    parts[i] = pretty(values[i], M.options)
    size = size + #parts[i]
  end
  local text = table.concat(parts, "\t")
  if size > 100 or text:find "\n" then return table.concat(parts, "\n") end
  return text
end

return M
