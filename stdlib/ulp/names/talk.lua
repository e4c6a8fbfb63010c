--- The programs `ulp_trigger`, `ulp_check`, `ulp_dump`, `ulp_packer`, `ulp_reverse`, `ulp_post` and `ulp_messages`: the names
--- and words of the first libpulp. A patch is named by its metadata file (`livepatch.ulp`) or by its shared object.
local M = {}

local options = require "ulp.names.options"
local words_of = require "ulp.render.talk"

local usage_status = 64

--- @class ulp.names.Talk
--- @field usage string what follows the name
--- @field options ulp.names.Option[]
--- @field run fun(given: table<string, string|true>, operands: string[]): integer|string a status, or a mistake in words

local process_option = {long = "process", short = "p", value = "PID", help = "the process"}

local function say(text) io.stdout:write(text, "\n") end

--- Errors go to standard error, with our code for whoever looks it up.
local function fail(err)
  io.stdout:flush()
  local failure = require "ulp.error".from(err)
  local clean = require "ulp.render.pretty".clean
  io.stderr:write(("ulp: %s [%s]\n"):format(clean(failure.message), failure.code))
  if failure.hint then io.stderr:write("ulp: hint: ", clean(failure.hint), "\n") end
  return 1
end

--- The process and the patch of `-p PID PATCH` or `PID PATCH`.
local function process_and_patch(given, operands)
  if given.process then return given.process, operands[1], #operands == 1 end
  return operands[1], operands[2], #operands == 2
end

-- The programs --------------------------------------------------------------------------------------------------------

--- What the failures are that another attempt may not meet: somebody held what loading needs.
local busy = {["carrier.none"] = true, ["call.busy"] = true, ["operation.busy"] = true, ["patch.blocked"] = true}

local function attempts_of(given) return math.max(1, math.tointeger(tonumber(given.retries)) or 1) end

--- A patch as it is named, and whether it is to be taken back: a file that `ulp_reverse` wrote names it by its id alone.
local function patch_of(given, path)
  local file = io.open(path, "rb")
  local first = file and file:read(1)
  if file then file:close() end
  if first ~= "\2" then return path, given.revert end
  local metadata = require "ulp".dump(path)
  return metadata and metadata.id or path, true
end

--- One attempt of `ulp_trigger`, with the lines that `-v` asks for.
local function attempt(given, pid, patch, is_revert, number)
  local ulp = require "ulp"
  local tell = given.verbose and say or function() end
  tell(words_of.begins)
  tell(words_of.advertises)
  tell(words_of.runs)
  local change = is_revert and ulp.try_revert or ulp.try_trigger
  local result, err = change(math.tointeger(tonumber(pid)), patch, {consistency = "immediate", timeout = tonumber(given.timeout)})
  tell(words_of.ran)
  local done = result and (result.state == "done" or result.state == "already")
  if not done then
    if busy[(err or result).code] then tell(words_of.busy) end
    tell(words_of.failed(pid, number))
  end
  tell(words_of.releases)
  return done, err or result
end

local programs = {}

programs.trigger = {
  usage = "[-p] PID LIVEPATCH",
  options = {
    process_option, {long = "retries", short = "r", value = "N", help = "attempts before giving up"},
    {long = "revert", help = "take the patch back"}, {long = "timeout", value = "SECONDS", help = "give up after this time"},
  },
  run = function(given, operands)
    local pid, patch, complete = process_and_patch(given, operands)
    if not complete or not pid:match "^%d+$" then return "a process and a live patch are needed" end
    local subject, is_revert = patch_of(given, patch)
    local done, outcome
    for number = 1, attempts_of(given) do
      done, outcome = attempt(given, pid, subject, is_revert, number)
      if done then break end
    end
    if not done then return fail(outcome) end
    say(given.process and words_of.succeeded or words_of.successful(pid))
    return 0
  end,
}

programs.check = {
  usage = "[-p] PID LIVEPATCH",
  options = {process_option},
  run = function(given, operands)
    local pid, patch, complete = process_and_patch(given, operands)
    if not complete or not pid:match "^%d+$" then return "a process and a live patch are needed" end
    local ulp = require "ulp"
    local done, result = pcall(ulp.check, math.tointeger(tonumber(pid)), patch)
    if not done then
      fail(result)
      return 255
    end
    say(result.applied and words_of.applied or words_of.not_applied)
    return result.applied and 1 or 0
  end,
}

--- A path with another ending.
local function with_ending(path, ending) return (path:gsub("%.[^./]*$", "")) .. ending end

programs.packer = {
  usage = "DESCRIPTION [METADATA]",
  options = {{long = "output", short = "o", value = "FILE", help = "the metadata file"}},
  run = function(given, operands)
    if #operands < 1 or #operands > 2 then return "a description is needed" end
    local output = given.output or operands[2] or with_ending(operands[1], ".ulp")
    local container, err = require "ulp".pack(operands[1], {metadata = output})
    return container and 0 or fail(err)
  end,
}

programs.reverse = {
  usage = "METADATA [REVERT-METADATA]",
  options = {{long = "output", short = "o", value = "FILE", help = "the metadata file for reverting"}},
  run = function(given, operands)
    if #operands < 1 or #operands > 2 then return "a metadata file or a live patch is needed" end
    local output = given.output or operands[2] or with_ending(operands[1], ".rev")
    local done, err = require "ulp".reverse(operands[1], {output = output})
    return done and 0 or fail(err)
  end,
}

--- A program of one operand that SUSE's `ulp` has as a command.
local function as_command(name, more)
  return {
    usage = more or "FILE", options = require("ulp.names.program").options_of(name),
    run = function(_, _, words) return require("ulp.names.program").run(name, {name, table.unpack(words)}) end,
  }
end

--- The names of the programs, without their beginning.
M.names = {trigger = true, check = true, dump = true, packer = true, reverse = true, post = true, messages = true}

local function program_of(name)
  if name == "dump" or name == "post" then return as_command(name) end
  if name == "messages" then return as_command(name, "-p PID") end
  return programs[name]
end

-- Running one ---------------------------------------------------------------------------------------------------------

local common = {
  {long = "verbose", short = "v", help = "say what is done"}, {long = "quiet", short = "q", help = "say less"},
  {long = "help", short = "?", help = "print this help"}, {long = "version", short = "V", help = "print the version"},
}

local function usage(name, program, text)
  io.stderr:write(("ulp_%s: %s\nUsage: ulp_%s [OPTION...] %s\n"):format(name, text, name, program.usage))
  return usage_status
end

--- Runs `ulp_NAME`. The executable calls this.
--- @param name string
--- @param words string[]
--- @return integer status
function M.main(name, words)
  local program = program_of(name)
  if not program then
    io.stderr:write(("ulp: there is no program ulp_%s\n"):format(require "ulp.render.pretty".clean(name)))
    return usage_status
  end
  local declared = table.move(common, 1, #common, #program.options + 1, {table.unpack(program.options)})
  local read, mistake = options.read(declared, words)
  if not read then return usage(name, program, mistake) end
  if read.given.version then
    say("libpulp " .. require "ulp.core".libpulp_version)
    return 0
  elseif read.given.help then
    say(("Usage: ulp_%s [OPTION...] %s\n\n%s"):format(name, program.usage, options.help(declared)))
    return 0
  end
  local done, status, trace = require "ulp.cli".try(program.run, read.given, read.operands, words)
  if not done then
    local err = require "ulp.error"
    if err.is(status, "script.interrupted") then error(status, 0) end
    if err.is(status) and status.code ~= "internal" then return fail(status) end
    require "ulp.render.human".failure(status, trace)
    return 3
  end
  if type(status) == "string" then return usage(name, program, status) end
  return status
end

return M
