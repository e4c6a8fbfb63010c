--- The program under the name `ulp`: SUSE's commands and options, line shapes and exit statuses.
---
--- Only the words differ from our own subcommands. What is done, is done by the same functions.
local M = {}

local core = require "ulp.core"
local options = require "ulp.names.options"
local render = require "ulp.render.suse"
local numbers = require "ulp.names.numbers"

--- What argp(3) returns for a mistake on the command line: EX_USAGE of sysexits.h.
local usage_status = 64

--- @class ulp.names.Command
--- @field summary string
--- @field operand string? what its one operand is called
--- @field options ulp.names.Option[]
--- @field run fun(self: ulp.names.Program, given: table<string, string|true>, operand: string?): integer

--- @class ulp.names.Program what a command works with
--- @field verbose boolean
--- @field quiet boolean
--- @field restricted boolean? some process could not be examined because of the machine's settings
local Program = {}
Program.__index = Program

--- A line on standard error, unless `-q`.
function Program:warn(format, ...)
  if not self.quiet then
    io.stdout:flush()
    io.stderr:write(render.warning(format:format(...)))
  end
end

--- A line on standard error if `-v`.
function Program:debug(format, ...)
  if self.verbose then self:warn(format, ...) end
end

--- Says what an error is.
function Program:problem(err)
  local failure = require "ulp.error".from(err)
  self:warn("%s", failure.message)
  if failure.hint then self:debug("%s", failure.hint) end
end

--- Says what an error is, the words of SUSE's number first, for scripts that look for them.
function Program:failure(err)
  local failure = require "ulp.error".from(err)
  self:warn("%s: %s", numbers.words(numbers.of_error(failure)), failure.message)
  if failure.hint then self:debug("%s", failure.hint) end
end

--- Where each command is.
local places = {
  trigger = "ulp.names.trigger",
  patches = "ulp.names.look", check = "ulp.names.look", messages = "ulp.names.look", set_patchable = "ulp.names.look",
  dump = "ulp.names.files", packer = "ulp.names.files", post = "ulp.names.files", livepatchable = "ulp.names.files",
  extract = "ulp.names.files",
}

--- The names of the commands, in the order of help.
M.names = {"trigger", "patches", "check", "dump", "packer", "post", "messages", "livepatchable", "set_patchable", "extract"}

local common = {
  {long = "verbose", short = "v", help = "say more"},
  {long = "quiet", short = "q", help = "say less"},
  {long = "help", short = "?", final = true, help = "print this help"},
  {long = "usage", final = true, help = "print a short usage message"},
  {long = "version", short = "V", final = true, help = "print the version"},
}

--- @return ulp.names.Command
local function command_of(name) return require(places[name])[name] end

--- The options of a command, without those that all have.
--- @param name string
--- @return ulp.names.Option[]
function M.options_of(name) return command_of(name).options end

--- The options of a command, or of all: options may come before the command, and each command takes those of the others
--- without doing anything about them, as SUSE's tool does that reads all of them in one place.
local function declared(name)
  local list, seen = {}, {}
  local function add(more)
    for _, option in ipairs(more) do
      if not seen[option.long] then
        seen[option.long] = true
        list[#list + 1] = option
      end
    end
  end
  for _, each in ipairs(name and {name} or M.names) do add(command_of(each).options) end
  add(common)
  return list
end

local function operand_of(name)
  local operand = name and command_of(name).operand
  return name and (operand and "[" .. operand .. "]") or "[ARG]"
end

local function usage_line(name)
  return ("Usage: ulp %s [OPTION...] %s"):format(name or "COMMAND", operand_of(name) or ""):gsub(" $", "")
end

--- The form of a command line with every option, in lines of less than 80 columns.
local function long_usage(name)
  local words, lines = options.usage(name and declared(name) or common), {"Usage: ulp " .. (name or "COMMAND [OPTION...]")}
  words[#words + 1] = operand_of(name)
  for _, word in ipairs(words) do
    local whole = lines[#lines] .. " " .. word
    if #whole < 80 then lines[#lines] = whole else lines[#lines + 1] = (" "):rep(12) .. word end
  end
  return table.concat(lines, "\n")
end

local function help(name)
  local lines = {usage_line(name)}
  if name then
    lines[2] = command_of(name).summary .. "\n\nOptions:\n" .. options.help(declared(name))
  else
    lines[2] = "Live patching of running processes.\n\nCommands:"
    for _, each in ipairs(M.names) do lines[#lines + 1] = ("  %-14s %s"):format(each, command_of(each).summary) end
    lines[#lines + 1] = "\nOptions:\n" .. options.help(common) .. "\n\n`ulp COMMAND --help' lists those of a command."
  end
  io.stdout:write(table.concat(lines, "\n"), "\n")
  return 0
end

local function usage(name, text)
  io.stderr:write("ulp: ", (text:gsub("[^\n]+", require "ulp.render.pretty".clean)),
    ("\nTry `ulp%s --help' or `ulp --usage' for more information.\n"):format(name and " " .. name or ""))
  return usage_status
end

--- The command among the words, the first that is neither option nor an option's value; and the words as it reads them.
--- Which words are values depends on the command, which may come after them.
local function find_command(words)
  for _, word in ipairs(words) do
    if places[word] then
      local read = options.read(declared(word), words, declared)
      if read and (read.operands[1] == word or read.is_final) then return word, read end
    end
  end
  local read, mistake = options.read(declared(), words)
  return nil, read, mistake
end

--- Runs the program. The executable calls this for the name `ulp`.
--- @param words string[]
--- @return integer status
function M.main(words)
  local name, read, mistake = find_command(words)
  if not read then return usage(nil, mistake) end
  local given, first = read.given, read.operands[1]
  if given.version then
    io.stdout:write("libpulp ", core.libpulp_version, "\n")
    return 0
  end
  if given.help then return help(name) end
  if given.usage then
    io.stdout:write(long_usage(name), "\n")
    return 0
  end
  if name then return M.run(name, words) end
  return usage(nil, first and ("invalid command '%s'"):format(first) or "a command is missing")
end

--- Runs one command with words that hold its name among them.
--- @param name string
--- @param words string[]
--- @return integer status
function M.run(name, words)
  local command = command_of(name)
  local read, mistake = options.read(declared(name), words, declared)
  if not read then return usage(name, mistake) end
  if #read.operands > 2 then return usage(name, "too many arguments") end
  if read.operands[2] and not command.operand then return usage(name, "too many arguments") end
  if read.given.verbose and read.given.quiet then return usage(name, "options -v and -q exclude each other") end
  local program = setmetatable({verbose = read.given.verbose or false, quiet = read.given.quiet or false}, Program)
  for _, option in ipairs(read.foreign) do
    program:warn("option '--%s' means nothing to '%s'", option.long, name)
    read.given[option.long] = nil
  end
  local cli = require "ulp.cli"
  local done, status, trace = cli.try(command.run, program, read.given, read.operands[2])
  if done then
    if type(status) == "string" then return usage(name, status) end
    return status
  end
  return M.failed(program, status, trace)
end

--- The exit status for what a command raised.
--- @param program ulp.names.Program
--- @param failure any
--- @param trace string?
--- @return integer
function M.failed(program, failure, trace)
  local err = require "ulp.error"
  if err.is(failure, "script.interrupted") then error(failure, 0) end
  if not err.is(failure) or failure.code == "internal" or failure.code == "script.error" then
    require "ulp.render.human".failure(failure, trace)
    return 3
  end
  program:failure(failure)
  return numbers.status(numbers.of_error(failure))
end

return M
