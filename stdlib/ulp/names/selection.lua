--- Which processes SUSE's `-p` and `-u` mean.
local M = {}

local attach = require "ulp.attach"
local numbers = require "ulp.names.numbers"

--- Whether a text matches one of colon-free words as `-u` takes them: a number equals the user's number, anything else is a
--- pattern for the user's name.
local function is_of_user(p, word)
  if word:match "^%d+$" then return p.uid == math.tointeger(tonumber(word)) end
  return attach.matches(word, p.user)
end

--- Whether the kernel lets users trace only what they have started, or nothing (Yama: ptrace(2), "ptrace_scope").
local function is_restricted()
  local file = io.open "/proc/sys/kernel/yama/ptrace_scope"
  local scope = file and file:read "n"
  if file then file:close() end
  return scope ~= nil and scope > 0 and require "ulp.core".user_id() ~= 0
end

--- Warns of a process that cannot be looked into. Where that is so by the machine's settings it is the caller's failure.
local function unexamined(program, err)
  program:warn("error gathering target process information: %s", numbers.words(numbers.of(err.code)))
  program:debug("%s", err.message)
  if err.hint then program:debug("%s", err.hint) end
  if err.code == "process.permission" and not program.restricted and is_restricted() then
    program.restricted = true
    program:warn("kernel.yama.ptrace_scope forbids to trace processes of others: run this as root, or set it to 0")
  end
end

--- Calls the body for one process. Errors about this process, of which often nothing is left by then, are returned: the others
--- are still to be seen to. All other errors are raised.
--- @return ulp.Error? err
local function visit(p, user, body)
  local err = require "ulp.error"
  local done, failure = require "ulp.cli".try(function()
    if user and not is_of_user(p.facts, user) then return end
    body(p, assert(p:runtime()), p.comm)
  end)
  if done then return nil end
  if not err.is(failure) or err.is(failure, "script.interrupted") or err.is(failure, "internal") then error(failure, 0) end
  if not p.alive then return err.new("process.gone", ("process %d has ended"):format(p.pid), {pid = p.pid}) end
  local is_about_it = failure.code:find "^process%." or failure.code:find "^memory%." or failure.code:find "^runtime%."
  return is_about_it and failure or error(failure, 0)
end

--- Calls `body(p, runtime, comm)` for each process that was asked for, one handle at a time. A numeric `-p` names one, whatever
--- runs in it; else every process with a libpulp.so whose name matches. What cannot be examined is warned of and left out;
--- `program.restricted` tells that it could not be by the machine's settings.
--- @param program ulp.names.Program
--- @param given {process: string?, user: string?}
--- @param body fun(p: ulp.Process, runtime: ulp.Runtime, comm: string)
--- @return boolean complete false if a numeric `-p` could not be examined
function M.each(program, given, body)
  local ulp = require "ulp"
  local word = given.process
  if word and word:match "^%d+$" then
    local handle, refusal = ulp.attach(word)
    local p <close> = handle
    if p then refusal = visit(p, nil, body) end
    if refusal then unexamined(program, refusal) end
    return refusal == nil
  end
  local count = 0
  for handle in ulp.processes{runtime = true, name = word} do
    local p <close> = handle
    local refusal = visit(p, given.user, body)
    if refusal and refusal.code ~= "process.gone" and refusal.code ~= "runtime.missing" then unexamined(program, refusal) end
    count = count + 1
    if count == 8 then require "ulp.transition".expect(count) end
    if count % 64 == 0 then collectgarbage() end -- what refers to a closed handle keeps its descriptors
  end
  return true
end

--- The files that an operand means: itself, or with a `*` every `*.so` that matches in its directory, and below with
--- `--recursive`.
--- @param operand string
--- @param recursive boolean
--- @return string[]
function M.containers(operand, recursive)
  if not operand:find("*", 1, true) then return {operand} end
  local core = require "ulp.core"
  local directory, pattern = operand:match "^(.*/)([^/]*)$"
  if not directory then directory, pattern = "", operand end
  local found = {}
  local function search(place, depth)
    for _, name in ipairs(core.list_directory(place == "" and "." or place) or {}) do
      local path = place .. name
      if name:sub(-3) == ".so" and attach.matches(pattern, name) then found[#found + 1] = path end
      if recursive and depth < 64 and core.file_kind(path) == "directory" then
        search(path .. "/", depth + 1)
      end
    end
  end
  search(directory, 0)
  return found
end

return M
