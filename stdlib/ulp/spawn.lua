--- Starting programs and talking to them: send, expect and reject with time limits.
---
---     local c <close> = ulp.spawn{"./numserv", preload = true}
---     c:send "dozen\n"
---     c:expect("12\n", {reject = "13"})
---
--- What is not yet consumed by an `expect` stays for the next one. A child is killed with its group when its handle is
--- closed or collected, and by the kernel when ulpsh ends.
local core = require "ulp.core"
local raise = require "ulp.error".raise

local M = {}

--- How many expectations have been met in this process; a scenario that met none tested nothing.
M.expectations = 0

--- Children that may still be worth a transcript when a scenario fails. Weak: a dropped child is killed as usual.
M.children = setmetatable({}, {__mode = "k"})

local signals = {
  HUP = 1, INT = 2, QUIT = 3, ILL = 4, TRAP = 5, ABRT = 6, BUS = 7, FPE = 8, KILL = 9, USR1 = 10, SEGV = 11, USR2 = 12,
  PIPE = 13, ALRM = 14, TERM = 15, CHLD = 17, CONT = 18, STOP = 19, TSTP = 20, TTIN = 21, TTOU = 22, WINCH = 28,
}

--- The number of a signal given by number or by name, with or without `SIG`.
---@param signal integer|string
---@return integer
function M.signal_number(signal)
  if math.type(signal) == "integer" then return signal end
  local number = signals[tostring(signal):upper():gsub("^SIG", "")]
  if not number then raise("usage", ("there is no signal %s"):format(tostring(signal))) end
  return number
end

---@class ulp.Spawned
---@field pid integer
---@field transcript string what was sent (`> `) and what came (`< `), in order
local methods = {}

--- Makes control characters visible, so that a transcript cannot steer the terminal it is read on.
local function visible(text)
  return (text:gsub("[%c\127]", function(character)
    return character == "\t" and "\t" or character == "\n" and "\\n" or ("\\x%02x"):format(character:byte())
  end))
end

local function transcript(self)
  local lines, direction, pending = {}, nil, ""
  local function flush(to)
    if pending ~= "" then lines[#lines + 1] = direction .. visible(pending) end
    pending, direction = "", to
  end
  for _, entry in ipairs(self.log) do
    if entry.direction ~= direction then flush(entry.direction) end
    pending = pending .. entry.text
    while true do
      local line, rest = pending:match("^(.-)\n(.*)$")
      if not line then break end
      lines[#lines + 1] = direction .. visible(line)
      pending = rest
    end
  end
  flush()
  return table.concat(lines, "\n")
end

local metatable = {
  __name = "ulp.Spawned",
  __index = function(self, key)
    if key == "transcript" then return transcript(self) end
    return methods[key]
  end,
  __tostring = function(self) return ("Spawned %d (%s)"):format(self.pid, self.name) end,
  __close = function(self) self:close() end,
}

--- A text in quotes, on one line.
local function quoted(text) return '"' .. visible(text):gsub('"', '\\"') .. '"' end

local function record(self, direction, text)
  self.log[#self.log + 1] = {direction = direction, text = text}
end

local function fail(self, code, message, data)
  data = data or {}
  data.pid = self.pid
  data.transcript = self.transcript
  raise(code, ("%s (%s): %s"):format(self.name, self.pid, message), data)
end

--- Takes in what the child has written, waiting at most `seconds`; false when it has closed its output.
local function take(self, seconds)
  if self.ended then return false end
  local text = self.raw:read(seconds)
  if not text then
    self.ended = true
    return false
  end
  if text ~= "" then
    record(self, "< ", text)
    self.unread = self.unread .. text
  end
  return true
end

--- Sends text as it is: end it with a line end if the program reads lines.
---@param text string
---@return ulp.Spawned
function methods:send(text)
  record(self, "> ", text)
  local count = self.raw:write(text, self.timeout)
  if count < #text then
    fail(self, "expect.timeout", ("took only %d of %d bytes in %g s"):format(count, #text, self.timeout))
  end
  return self
end

---@class ulp.ExpectOptions
---@field reject? string|string[] text that must not come before what is expected
---@field timeout? number seconds; the child's own limit (5) unless given
---@field pattern? boolean the texts are Lua patterns

--- Waits until the child writes `what`, and consumes its output up to there.
---
--- Raises `expect.rejected` if a rejected text comes first, `expect.timeout` if the time is over or the child ends.
---@param what string
---@param options? ulp.ExpectOptions
---@return string ... the text found, or the captures of the pattern
function methods:expect(what, options)
  options = options or {}
  local plain = not options.pattern
  local rejects = options.reject or {}
  if type(rejects) == "string" then rejects = {rejects} end
  local deadline = core.clock() + (options.timeout or self.timeout)
  while true do
    local found = table.pack(self.unread:find(what, 1, plain))
    local first, last = found[1], found[2]
    for _, reject in ipairs(rejects) do
      local at = self.unread:find(reject, 1, plain)
      if at and (not first or at <= first) then
        fail(self, "expect.rejected", ("wrote %s, which must not come before %s"):format(quoted(reject), quoted(what)), {
          rejected = reject, expected = what,
        })
      end
    end
    if first then
      local text = self.unread:sub(first, last)
      self.unread = self.unread:sub(last + 1)
      M.expectations = M.expectations + 1
      if found.n > 2 then return table.unpack(found, 3, found.n) end
      return text
    end
    local left = deadline - core.clock()
    if left <= 0 then
      local message = ("did not write %s in time; it wrote %s"):format(quoted(what), quoted(self.unread))
      fail(self, "expect.timeout", message, {expected = what})
    end
    if not take(self, left) then
      local message = ("ended without writing %s; it wrote %s"):format(quoted(what), quoted(self.unread))
      fail(self, "expect.timeout", message, {expected = what})
    end
  end
end

--- Sends a line and waits for the answer.
---@param line string without its line end
---@param what string as for `expect`
---@param options? ulp.ExpectOptions
function methods:ask(line, what, options)
  self:send(line .. "\n")
  return self:expect(what, options)
end

--- Ends the child's input.
function methods:send_end() self.raw:close_input() end

--- Waits for the child's end: `{code = n}` or `{signal = n}`, nil if it goes on.
---@param timeout? number
---@return {code?: integer, signal?: integer}?
function methods:wait(timeout)
  local deadline = core.clock() + (timeout or self.timeout)
  repeat
    take(self, 0)
    local kind, number = self.raw:wait(math.min(0.05, math.max(0, deadline - core.clock())))
    if kind then
      -- What it wrote before its end is still in the channel; a grandchild that holds it open must not delay us.
      local before
      repeat before = #self.unread until not take(self, 0) or #self.unread == before
      return {[kind] = number}
    end
  until core.clock() >= deadline
  return nil
end

--- Waits for the child's end and compares how it ended: with an exit code, or `{signal = "KILL"}`.
---@param expected? integer|{signal: integer|string} 0 unless given
---@param timeout? number
function methods:expect_exit(expected, timeout)
  expected = expected or 0
  local exit = self:wait(timeout)
  if not exit then fail(self, "expect.timeout", "did not end in time") end
  local wanted = type(expected) == "table" and {signal = M.signal_number(expected.signal)} or {code = expected}
  if exit.code ~= wanted.code or exit.signal ~= wanted.signal then
    local function text(how) return how.code and "code " .. how.code or how.signal and "signal " .. how.signal or "?" end
    fail(self, "expect.rejected", ("ended with %s instead of %s"):format(text(exit), text(wanted)))
  end
  M.expectations = M.expectations + 1
end

--- Everything the child has written so far and nobody has expected, consumed. Does not wait.
---@return string
function methods:drain()
  local before
  repeat before = #self.unread until not take(self, 0) or #self.unread == before
  local text = self.unread
  self.unread = ""
  return text
end

--- Whether the child still runs.
---@return boolean
function methods:alive() return self.raw:wait(0) == nil end

--- Sends a signal by name or number.
---@param signal integer|string
function methods:signal(signal) return self.raw:signal(M.signal_number(signal), false) end

--- Kills the child's whole group and waits for its end.
function methods:kill()
  self.raw:signal(9, true)
  return self:wait(2)
end

--- Kills and forgets the child. The transcript stays.
function methods:close() self.raw:close() end

---@class ulp.SpawnOptions
---@field [integer] string the program and its arguments
---@field preload? boolean|string|string[] true: ulpsh's own runtime; otherwise libraries by path
---@field env? table<string, string|false> variables to set, or with false to remove
---@field cwd? string
---@field pty? boolean talk through a terminal instead of pipes
---@field stderr? "join"|"keep" into the same stream (default), or left where ulpsh's own goes
---@field timeout? number limit of `expect`, `send` and `wait` in seconds (5)

--- Starts a program. Raises `spawn.failed`.
---@param options ulp.SpawnOptions|string
---@return ulp.Spawned
function M.spawn(options)
  if type(options) == "string" then options = {options} end
  local preload = options.preload
  if preload == true then
    preload = {core.runtime_path}
  elseif type(preload) == "string" then
    preload = {preload}
  end
  local changes = {}
  for name, value in pairs(options.env or {}) do changes[#changes + 1] = {name, value or nil} end
  local raw = core.spawn {
    command = table.move(options, 1, #options, 1, {}),
    preload = preload or {},
    env = changes,
    cwd = options.cwd,
    pty = options.pty or false,
    join = options.stderr ~= "keep",
  }
  local self = setmetatable({
    raw = raw, pid = raw.pid, name = options[1]:match("[^/]+$") or options[1], timeout = options.timeout or 5, log = {},
    unread = "", ended = false,
  }, metatable)
  M.children[self] = true
  return self
end

return setmetatable(M, {__call = function(_, options) return M.spawn(options) end})
