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

--- @field final? boolean nothing behind it is read, as with `--help`

--- @class ulp.names.Options
--- @field operands string[]
--- @field given table<string, string|true> values by long name; of a repeated option the last
--- @field foreign ulp.names.Option[] options that were given and belong to other commands

--- What one reading works with.
--- @class ulp.names.Reader
--- @field declared ulp.names.Option[]
--- @field others? fun(): ulp.names.Option[] options that mean nothing here, and are accepted
--- @field words string[]
--- @field result ulp.names.Options

local function usage(text) return nil, text end

--- The option that a long word means: the exact one, or the only one that begins so; nil if there is none.
local function find_long(declared, word)
  local found = {}
  for _, option in ipairs(declared) do
    if option.long == word then return option end
    if option.long:sub(1, #word) == word then found[#found + 1] = option end
  end
  if #found < 2 then return found[1] end
  local names = {}
  for index, option in ipairs(found) do names[index] = ("'--%s'"):format(option.long) end
  return usage(("option '--%s' is ambiguous; possibilities: %s"):format(word, table.concat(names, " ")))
end

local function find_short(declared, letter)
  for _, option in ipairs(declared) do
    if option.short == letter then return option end
  end
end

--- An option of the command, else one of another command.
local function find(reader, search, word)
  local option, mistake = search(reader.declared, word)
  if option or mistake or not reader.others then return option, mistake end
  option, mistake = search(reader.others(), word)
  if option then table.insert(reader.result.foreign, option) end
  return option, mistake
end

local function give(reader, option, value)
  reader.result.given[option.long] = value
  reader.result.is_final = reader.result.is_final or option.final
end

--- Reads one `--word` or `--word=value`. Returns how many further words it took.
local function read_long(reader, index)
  local whole, next_word = reader.words[index], reader.words[index + 1]
  local word, value = whole:match "^%-%-([^=]*)=?(.*)$"
  local has_value = whole:find("=", 1, true) ~= nil
  local option, mistake = find(reader, find_long, word)
  if not option then return nil, mistake or ("unrecognized option '%s'"):format(whole) end
  if not option.value then
    if has_value then return usage(("option '--%s' doesn't allow an argument"):format(option.long)) end
    give(reader, option, true)
    return 0
  end
  if not has_value and not next_word then return usage(("option '--%s' requires an argument"):format(option.long)) end
  give(reader, option, has_value and value or next_word)
  return has_value and 0 or 1
end

--- Reads `-abc`, `-pVALUE` or `-p VALUE`. Returns how many further words it took.
local function read_short(reader, index)
  local letters, next_word = reader.words[index]:sub(2), reader.words[index + 1]
  for at = 1, #letters do
    local option = find(reader, find_short, letters:sub(at, at))
    if not option then return usage(("invalid option -- '%s'"):format(letters:sub(at, at))) end
    if option.value then
      local rest = letters:sub(at + 1)
      if rest == "" and not next_word then return usage(("option requires an argument -- '%s'"):format(option.short)) end
      give(reader, option, rest ~= "" and rest or next_word)
      return rest == "" and 1 or 0
    end
    give(reader, option, true)
    if option.final then break end
  end
  return 0
end

--- Splits words into options and operands.
--- @param declared ulp.names.Option[]
--- @param words string[]
--- @param others? fun(): ulp.names.Option[] more options, which are accepted and told as `foreign`
--- @return ulp.names.Options?
--- @return string? mistake in the words of getopt(3)
function M.read(declared, words, others)
  local result = {operands = {}, given = {}, foreign = {}}
  local reader = {declared = declared, others = others, words = words, result = result}
  local index, ended = 1, false
  while words[index] and not result.is_final do
    local word = words[index]
    if ended or word == "-" or word:sub(1, 1) ~= "-" then
      result.operands[#result.operands + 1] = word
    elseif word == "--" then
      ended = true
    else
      local read = word:sub(1, 2) == "--" and read_long or read_short
      local taken, mistake = read(reader, index)
      if not taken then return nil, mistake end
      index = index + taken
    end
    index = index + 1
  end
  return result
end

--- The options as they stand in a usage line: flags joined, then those with values, then the long names.
--- @param declared ulp.names.Option[]
--- @return string[]
function M.usage(declared)
  local flags, words, long = "", {}, {}
  for _, option in ipairs(declared) do
    if option.short and not option.value then flags = flags .. option.short end
    if option.short and option.value then words[#words + 1] = ("[-%s %s]"):format(option.short, option.value) end
    long[#long + 1] = ("[--%s%s]"):format(option.long, option.value and "=" .. option.value or "")
  end
  if flags ~= "" then table.insert(words, 1, ("[-%s]"):format(flags)) end
  return table.move(long, 1, #long, #words + 1, words)
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
