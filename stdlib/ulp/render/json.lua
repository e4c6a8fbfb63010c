--- Results and errors as JSON lines, for programs. Every line is an object with `schema` and `type`.
local M = {}

local json = require "dkjson"

--- The version of what the lines mean. It grows when a member is removed or changes its meaning, not when one is added.
M.schema = 1

--- These members come first, the rest follows by name: the same result is the same line.
local order = {"schema", "type", "state", "code", "message", "hint", "pid", "comm"}

--- Text as valid UTF-8: other bytes become U+FFFD.
local function valid(text)
  if utf8.len(text) then return text end
  local parts, position = {}, 1
  while position <= #text do
    local _, bad = utf8.len(text, position)
    if not bad then
      parts[#parts + 1] = text:sub(position)
      break
    end
    parts[#parts + 1] = text:sub(position, bad - 1) .. "\u{FFFD}"
    position = bad + 1
  end
  return table.concat(parts)
end

--- A copy that JSON can show: no cycles, no functions, handles as their text.
local function plain(value, open, depth, names)
  local kind = type(value)
  if kind == "string" then return valid(value) end
  if kind == "number" or kind == "boolean" then return value end
  if kind ~= "table" then
    local done, text = pcall(tostring, value)
    return done and valid(text) or kind
  end
  if open[value] or depth > 32 then return "..." end
  open[value] = true
  local copy, length = {}, rawlen(value)
  for key, member in next, value do
    local name = math.type(key) == "integer" and length > 0 and key or valid(tostring(key))
    if type(name) == "string" then names[name] = true end
    copy[name] = plain(member, open, depth + 1, names)
  end
  open[value] = nil
  return copy
end

local function key_order(names)
  local rest = {}
  for _, name in ipairs(order) do names[name] = nil end
  for name in pairs(names) do rest[#rest + 1] = name end
  table.sort(rest)
  return table.move(rest, 1, #rest, #order + 1, {table.unpack(order)})
end

--- One line, without the newline.
--- @param kind string `result`, `error`, `warning`, ...
--- @param members table
--- @return string
function M.line(kind, members)
  local names = {}
  local object = plain(members, {}, 0, names)
  object.schema, object.type = M.schema, kind
  return (json.encode(object, {keyorder = key_order(names)}))
end

--- Prints a result.
--- @param result table
function M.result(result)
  io.stdout:write(M.line("result", result), "\n")
end

--- Prints an error, coded or not, as a line of its own.
--- @param err any
--- @param traceback string?
function M.failure(err, traceback)
  local members = {}
  for name, value in next, require "ulp.error".from(err) do members[name] = value end
  members.traceback = traceback
  io.stdout:write(M.line("error", members), "\n")
end

return M
