--- Finding processes and opening them: `ulp.attach`, and the methods of `ulp.Process` that are written in Lua.
local M = {}

local core = require "ulp.core"
local raise = require "ulp.error"

--- @class ulp.Process
--- A handle on a process. It stops nothing; `p:stopped`, `p:call` and `p:switch` do.
local members = core.members "ulp.Process"

--- Values out of the process's memory, as `string.unpack` gives them.
---
---     p:unpack(p:symbol "counter", "<I8")
---
--- @param address integer
--- @param format string
--- @return any ...
function members:unpack(address, format)
  local fixed, size = pcall(string.packsize, format)
  -- A format with strings has no size of its own: take what there is, up to a page.
  if not fixed then
    local text = self:read(address, 1)
    for _, count in ipairs {16, 256, 4096} do
      local done, more = pcall(self.read, self, address, count)
      if not done then break end
      text = more
      local found = table.pack(pcall(string.unpack, format, text))
      if found[1] then return table.unpack(found, 2, found.n - 1) end
    end
    return string.unpack(format, text)
  end
  local found = table.pack(string.unpack(format, self:read(address, size)))
  return table.unpack(found, 1, found.n - 1)
end

--- Writes values into the process's data, as `string.pack` lays them out.
--- @param address integer
--- @param format string
--- @param ... any
function members:store(address, format, ...) self:write(address, string.pack(format, ...)) end

--- Memory as people read it: address, 16 bytes in hexadecimal, and as text.
--- @param address integer
--- @param count? integer 64 unless given
--- @return string
function members:hexdump(address, count)
  local bytes, lines = self:read(address, count or 64), {}
  for at = 1, #bytes, 16 do
    local row = bytes:sub(at, at + 15)
    local digits = row:gsub(".", function(byte) return ("%02x "):format(byte:byte()) end)
    lines[#lines + 1] = ("%016x  %-48s %s"):format(address + at - 1, digits, (row:gsub("[^ -~]", ".")))
  end
  return table.concat(lines, "\n")
end

--- Every library of the process that exports a symbol: `{library = …, address = …}`, in link map order.
--- @param name string
--- @return {library: string, address: integer}[]
function members:where(name)
  local found = {}
  for _, library in ipairs(self.libs) do
    local done, address = pcall(self.symbol, self, name, library.name)
    if done and address then found[#found + 1] = {library = library.name, address = address} end
  end
  return found
end

local classes = {
  alpha = "%a", digit = "%d", alnum = "%w", upper = "%u", lower = "%l", space = "%s", punct = "%p", xdigit = "%x", cntrl = "%c",
  blank = " \t", graph = "%g", print = "%g ",
}

local function literal(letter) return (letter:gsub("%W", "%%%0")) end

--- A range of a bracket. Lua knows ranges of letters and digits alone for certain.
local function range(first, last)
  if first:match "%w" and last:match "%w" then return first .. "-" .. last end
  local parts = {}
  for byte = first:byte(), last:byte() do parts[#parts + 1] = literal(string.char(byte)) end
  return table.concat(parts)
end

--- A glob's `[...]` as a Lua character class, and the place behind it; nil if nothing closes it.
local function bracket(glob, at)
  local negated = glob:match("^[!^]", at + 1)
  local parts, start = {negated and "[^" or "["}, at + (negated and 2 or 1)
  at = start
  while at == start or glob:sub(at, at) ~= "]" do
    local class, behind = glob:match("^%[:(%l+):%]()", at)
    local letter, after_letter = glob:match("^\\?(.)()", at)
    if not letter then return nil end
    local last, after_last = glob:match("^%-\\?([^%]])()", after_letter)
    if classes[class] then
      parts[#parts + 1], at = classes[class], behind
    elseif last then
      parts[#parts + 1], at = range(letter, last), after_last
    else
      parts[#parts + 1], at = literal(letter), after_letter
    end
  end
  return #parts > 1 and table.concat(parts) .. "]" or nil, at + 1
end

--- Whether a whole name matches a glob, as fnmatch(3) has it: `*`, `?`, `[a-z]`, `[!a-z]`, `[[:digit:]]`, and `\` before what
--- means itself.
--- @param glob string
--- @param name string
--- @return boolean
function M.matches(glob, name)
  local parts, at = {}, 1
  while at <= #glob do
    local letter, class, behind = glob:sub(at, at), nil, nil
    if letter == "[" then class, behind = bracket(glob, at) end
    if letter == "\\" and at < #glob then
      at = at + 1
      letter = glob:sub(at, at)
      class = literal(letter)
    end
    parts[#parts + 1] = class or letter == "*" and ".*" or letter == "?" and "." or literal(letter)
    at = behind or at + 1
  end
  return name:match("^" .. table.concat(parts) .. "$") ~= nil
end

local function by_name(name)
  local found = {}
  for _, pid in ipairs(core.pids()) do
    local facts = core.process_facts(pid)
    if facts and M.matches(name, facts.comm) then found[#found + 1] = facts end
  end
  if #found == 1 then return core.attach(found[1].pid) end
  if #found == 0 then return nil, raise.new("process.not_found", ("no process is named %s"):format(name)) end
  local pids = {}
  for index, facts in ipairs(found) do pids[index] = tostring(facts.pid) end
  return nil, raise.new("usage", ("%d processes are named %s: %s"):format(#found, name, table.concat(pids, ", ")), {
    hint = "give the PID",
  })
end

--- Opens a process by PID, by name, or by a predicate on `{pid, comm, state, uid, user}`.
---
---     local p = assert(ulp.attach(4242))
---     local p = assert(ulp.attach "nginx")
---
--- @param which integer|string|fun(facts: table): boolean
--- @return ulp.Process?
--- @return ulp.Error? err `process.not_found`, `process.permission`, `process.static`, …
function M.attach(which)
  if type(which) == "function" then
    for _, pid in ipairs(core.pids()) do
      local facts = core.process_facts(pid)
      if facts and which(facts) then return core.attach(pid) end
    end
    return nil, raise.new("process.not_found", "no process satisfies the predicate")
  end
  if type(which) == "string" and not which:match "^%d+$" then return by_name(which) end
  local pid = math.tointeger(tonumber(which) or which)
  -- Numbers beyond pid_t would be cut to those of other processes.
  if not pid and type(which) == "string" or pid and (pid < 1 or pid > 0x7fffffff) then
    return nil, raise.new("process.not_found", ("there is no process %s"):format(which))
  end
  return core.attach(pid or which)
end

return M
