--- Options as GNU programs take them (getopt_long(3), argp): in any order, between and after the operands, long ones cut to
--- any length that is still unambiguous, short ones joined, `--` ends them.
---
--- Our own subcommands use argparse. It knows no abbreviations, and scripts that were written for SUSE's `ulp` use them.
local M = {}

--- @class ulp.names.Option
--- @field long string without the dashes
--- @field short? string one letter
--- @field value? string what the value is called in help; without it the option takes none
--- @field help string

--- @class ulp.names.Options
--- @field operands string[]
--- @field given table<string, string|true> values by long name; of a repeated option the last

local function usage(text) return nil, text end

--- The option that a long word means: the exact one, or the only one that begins so.
local function long_option(declared, word)
  local found
  for _, option in ipairs(declared) do
    if option.long == word then return option end
    if option.long:sub(1, #word) == word then
      if found then return usage(("option '--%s' is ambiguous: '--%s' '--%s'"):format(word, found.long, option.long)) end
      found = option
    end
  end
  if not found then return usage(("unrecognized option '--%s'"):format(word)) end
  return found
end

local function short_option(declared, letter)
  for _, option in ipairs(declared) do
    if option.short == letter then return option end
  end
  return usage(("invalid option -- '%s'"):format(letter))
end

--- Reads one `--word` or `--word=value`. Returns how many further words it took.
local function read_long(declared, words, index, given)
  local word, value = words[index]:match "^%-%-([^=]*)=?(.*)$"
  local has_value = words[index]:find("=", 1, true) ~= nil
  local option, mistake = long_option(declared, word)
  if not option then return nil, mistake end
  if not option.value then
    if has_value then return usage(("option '--%s' doesn't allow an argument"):format(option.long)) end
    given[option.long] = true
    return 0
  end
  if not has_value and not words[index + 1] then
    return usage(("option '--%s' requires an argument"):format(option.long))
  end
  given[option.long] = has_value and value or words[index + 1]
  return has_value and 0 or 1
end

--- Reads `-abc`, `-pVALUE` or `-p VALUE`. Returns how many further words it took.
local function read_short(declared, words, index, given)
  local letters = words[index]:sub(2)
  for at = 1, #letters do
    local option, mistake = short_option(declared, letters:sub(at, at))
    if not option then return nil, mistake end
    if option.value then
      local rest = letters:sub(at + 1)
      if rest == "" and not words[index + 1] then
        return usage(("option requires an argument -- '%s'"):format(option.short))
      end
      given[option.long] = rest ~= "" and rest or words[index + 1]
      return rest == "" and 1 or 0
    end
    given[option.long] = true
  end
  return 0
end

--- Splits words into options and operands.
--- @param declared ulp.names.Option[]
--- @param words string[]
--- @return ulp.names.Options?
--- @return string? mistake in the words of getopt(3)
function M.read(declared, words)
  local result = {operands = {}, given = {}}
  local index, ended = 1, false
  while words[index] do
    local word = words[index]
    if ended or word == "-" or word:sub(1, 1) ~= "-" then
      result.operands[#result.operands + 1] = word
    elseif word == "--" then
      ended = true
    else
      local read = word:sub(1, 2) == "--" and read_long or read_short
      local taken, mistake = read(declared, words, index, result.given)
      if not taken then return nil, mistake end
      index = index + taken
    end
    index = index + 1
  end
  return result
end

--- The options as lines of a help text.
--- @param declared ulp.names.Option[]
--- @return string
function M.help(declared)
  local lines = {}
  for _, option in ipairs(declared) do
    local short = option.short and ("-%s, "):format(option.short) or "    "
    lines[#lines + 1] = ("  %-32s %s"):format(
      short .. "--" .. option.long .. (option.value and "=" .. option.value or ""), option.help)
  end
  return table.concat(lines, "\n")
end

return M
