--- Lua values as people read them, whatever their metatables do.
local M = {}

--- @class ulp.render.PrettyOptions
--- @field hex boolean? integers from 65536 on in hexadecimal
--- @field depth integer? levels of tables that are shown (4)
--- @field elements integer? members of a table that are shown (100)
--- @field bytes integer? bytes of a string that are shown (4000)
--- @field width integer? a table that fits into this many columns stays on one line (100)
--- @field total integer? members shown altogether (5000)

local defaults = {depth = 4, elements = 100, bytes = 4000, width = 100, total = 5000}

--- Members of these names are addresses: they are always shown in hexadecimal.
local address_names = {address = true, base = true, load_bias = true, pc = true, sp = true, entry = true, start = true}

--- Members of these names may be addresses, or small numbers of something else.
local maybe_addresses = {first = true, last = true, bias = true, replacement = true}

--- Text with control characters, which could steer the terminal, as escapes.
--- @param text string
--- @return string
function M.clean(text)
  text = text:gsub("[%c\127]", function(c) return ("\\x%02x"):format(c:byte()) end)
  return (text:gsub("\194[\128-\159]", function(c) return ("\\u{%02x}"):format(c:byte(2)) end))
end

local short = {["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r", ["\\"] = "\\\\", ['"'] = '\\"'}

--- A string as a literal; invalid UTF-8 and control characters as escapes.
local function quote(text, limit)
  local rest = #text - limit
  if rest > 0 then text = text:sub(1, limit) end
  text = text:gsub('[\n\t\r\\"]', short)
  text = utf8.len(text) and M.clean(text) or text:gsub("[^\32-\126]", function(c) return ("\\x%02x"):format(c:byte()) end)
  return '"' .. text .. '"' .. (rest > 0 and (" ... (%d bytes more)"):format(rest) or "")
end

local function number(value, options, name)
  if math.type(value) == "integer" then
    local hex = address_names[name] or (options.hex or maybe_addresses[name]) and (value >= 65536 or value < -65536)
    return hex and ("0x%x"):format(value) or ("%d"):format(value)
  end
  return tostring(value)
end

--- What the value's own `__tostring` gives; nil if it has none, a note if that fails.
local function own_text(value)
  local meta = debug.getmetatable(value)
  if type(meta) ~= "table" or rawget(meta, "__tostring") == nil then return nil end
  local done, text = pcall(tostring, value)
  if not done then return ("<%s: __tostring fails>"):format(type(value)) end
  local lines = {}
  for line in (text:sub(1, 4000) .. "\n"):gmatch "(.-)\n" do lines[#lines + 1] = M.clean(line) end
  return table.concat(lines, "\n")
end

local rank = {number = 1, string = 2}

--- Keys in the order in which they are shown: numbers, names, the rest. At most `limit`, and whether there are more.
local function keys_of(t, limit)
  local keys, more = {}, false
  local length = math.min(rawlen(t), limit)
  for i = 1, length do
    if rawget(t, i) ~= nil then keys[#keys + 1] = i end
  end
  local others = {}
  for key in next, t do
    if not (math.type(key) == "integer" and key >= 1 and key <= length) then
      if #keys + #others >= limit then
        more = true
        break
      end
      others[#others + 1] = key
    end
  end
  table.sort(others, function(a, b)
    local ra, rb = rank[type(a)] or 3, rank[type(b)] or 3
    if ra ~= rb then return ra < rb end
    return ra < 3 and a < b
  end)
  table.move(others, 1, #others, #keys + 1, keys)
  return keys, more
end

local show

local function show_member(t, key, position, state, level)
  local value = show(rawget(t, key), state, level + 1, key)
  if key == position then return value end
  if type(key) == "string" and key:match "^[%a_][%w_]*$" then return key .. " = " .. value end
  return "[" .. show(key, state, state.depth) .. "] = " .. value
end

local function show_table(t, state, level)
  if state.open[t] then return "<cycle>" end
  if next(t) == nil then return "{}" end
  if level >= state.depth then return "{...}" end
  state.open[t] = true
  local keys, more = keys_of(t, state.elements)
  local parts, width = {}, 0
  for position, key in ipairs(keys) do
    state.left = state.left - 1
    if state.left < 0 then
      more = true
      break
    end
    parts[position] = show_member(t, key, position, state, level)
    width = width + #parts[position] + 2
    if parts[position]:find "\n" then width = math.huge end
  end
  if more then parts[#parts + 1] = "..." end
  state.open[t] = nil
  if width + 2 * level < state.width then return "{" .. table.concat(parts, ", ") .. "}" end
  local indent = ("  "):rep(level + 1)
  return "{\n" .. indent .. table.concat(parts, ",\n" .. indent) .. ",\n" .. ("  "):rep(level) .. "}"
end

function show(value, state, level, name)
  local kind = type(value)
  if kind == "string" then return quote(value, state.bytes) end
  if kind == "number" then return number(value, state, name) end
  if kind == "nil" or kind == "boolean" then return tostring(value) end
  local text = own_text(value)
  if text then return text end
  if kind == "table" then return show_table(value, state, level) end
  local meta = debug.getmetatable(value)
  local label = type(meta) == "table" and type(rawget(meta, "__name")) == "string" and rawget(meta, "__name") or kind
  return ("<%s %p>"):format(M.clean(label), value)
end

--- The value as text, possibly on several lines.
---
--- Tables are read raw; only `__tostring` is honoured. Cycles, depth, length and strings are limited.
--- @param value any
--- @param options ulp.render.PrettyOptions?
--- @return string
function M.pretty(value, options)
  local state = {open = {}}
  for name, default in pairs(defaults) do state[name] = options and options[name] or default end
  state.hex = options and options.hex
  state.left = state.total
  return show(value, state, 0)
end

return M
