--- Running the compiler and its relatives. Arguments go to the program as they are: there is no shell in between, so no
--- name of a file or option is ever taken for something else.
local M = {}

local core = require "ulp.core"
local err = require "ulp.error"
local spawn = require "ulp.spawn"

--- How long one run may take, in seconds. Heavy C++ on a busy machine takes tens of them.
M.limit = 300

--- Runs a program to its end and returns what it wrote to both of its outputs, and its exit code (128 + N for signal N).
---
--- Raises `cc.missing` if it cannot be started, `cc.failed` if it does not end in time.
--- @param command string[]
--- @return string output
--- @return integer status
function M.run(command)
  local request = {env = {LC_ALL = "C", LANGUAGE = false, GCC_COLORS = ""}, timeout = M.limit}
  local started, child = pcall(spawn, table.move(command, 1, #command, 1, request))
  if not started then
    if not err.is(child, "spawn.failed") then error(child, 0) end
    err.raise("cc.missing", ("%s cannot be started: %s"):format(command[1], child.message), {program = command[1]})
  end
  child:send_end()
  local exit = child:wait()
  local output = child:drain()
  child:close()
  spawn.children[child] = nil -- no scenario's business
  if not exit then
    err.raise("cc.failed", ("%s did not end within %d s"):format(command[1], M.limit), {output = output, command = command})
  end
  return output, exit.code or 128 + exit.signal
end

--- The first line of a compiler's or linker's output that says what is wrong: `FILE:LINE:COLUMN: error: TEXT`.
local function first_complaint(output)
  local fallback
  for line in output:gmatch "[^\n]+" do
    local path, number, column, text = line:match "^(.-):(%d+):(%d+): (.+)$"
    if not path then path, number, text = line:match "^(.-):(%d+): (.+)$" end
    if path and text and (text:find "^fatal error: " or text:find "^error: " or text:find "^[Ee]rror: ") then
      return line, path, tonumber(number), tonumber(column)
    end
    local is_error = line:find "undefined reference" or line:find "error: " or line:find "cannot find"
    fallback = fallback or is_error and line
  end
  return fallback or output:match "[^\n]+" or "no message"
end

--- Runs a compiler or linker; raises `cc.failed` with its text if it fails. The compiler's paths of temporary files are
--- shown without the directory that nobody knows.
--- @param command string[]
--- @param directory string
--- @return string warnings what it wrote although it went well
function M.compile(command, directory)
  local output, status = M.run(command)
  local shown, from = {}, 1
  while true do
    local first, last = output:find(directory .. "/", from, true)
    shown[#shown + 1] = output:sub(from, (first or 0) - 1)
    if not first then break end
    from = last + 1
  end
  output = table.concat(shown)
  if status == 0 then return output end
  local message, path, line, column = first_complaint(output)
  return err.raise("cc.failed", message, {
    output = output, path = path, line = line, column = column, status = status, command = command,
  })
end

--- Reads a file; raises `file.unreadable`.
--- @param path string
--- @return string
function M.read(path)
  local file, message = io.open(path, "rb")
  local text = file and file:read "a"
  if file then file:close() end
  if not text then err.raise("file.unreadable", message or ("%s cannot be read"):format(path), {path = path}) end
  return text
end

--- Writes a file; raises `file.unwritable`.
--- @param path string
--- @param text string
--- @return string path
function M.write(path, text)
  local file, message = io.open(path, "wb")
  local done = file and file:write(text)
  if file and not file:close() then done = nil end
  if not done then err.raise("file.unwritable", message or ("%s cannot be written"):format(path), {path = path}) end
  return path
end

-- Directories with what nobody asked to keep; removed at the latest when ulpsh ends.
local temporary = setmetatable({}, {__gc = function(self) for path in pairs(self) do core.remove_tree(path) end end})

--- A new directory that goes when ulpsh ends, or by `remove`.
--- @return string path
function M.directory()
  local path = assert(core.make_temporary_directory "ulpsh-cc-")
  temporary[path] = true
  return path
end

--- Removes a directory made by `directory`.
--- @param path string
function M.remove(path)
  core.remove_tree(path)
  temporary[path] = nil
end

return M
