--- `ulp dump`, `packer`, `post`, `livepatchable` and `extract`: what works on files.
local M = {}

local render = require "ulp.render.suse"

--- @type ulp.names.Command
M.dump = {
  summary = "Print the metadata of a live patch.",
  operand = "CONTAINER",
  options = {
    {long = "buildid", short = "b", help = "print the target's build ID"},
    {long = "revert", help = "print what is needed for reverting"},
  },
  run = function(program, given, operand)
    if not operand then return "a container is missing" end
    local container, err = require "ulp".container(operand)
    if not container then
      program:failure(err)
      return 1
    end
    io.stdout:write(render.dump(container:record(), {build_id = given.buildid, revert = given.revert}))
    return 0
  end,
}

--- The line of a file that a mistake is on; nil if there is none.
local function line_of(path, number)
  local file = io.open(path, "rb")
  if not file then return nil end
  local line
  for _ = 1, number do line = file:read "l" end
  file:close()
  return line
end

--- A mistake in a description as compilers report it: place, text, the line, and a mark below it.
local function diagnostic(err)
  local clean = require "ulp.render.pretty".clean
  local head = ("%s:%d:%d: error: %s\n"):format(clean(err.path), err.line, err.column,
    clean((err.message:gsub("^[^:]*:%d+:%d+: ", ""))))
  local line = line_of(err.path, err.line)
  if not line then return head end
  return ("%s%s\n%s^~~~\n"):format(head, clean(line), (" "):rep(err.column - 1))
end

--- @type ulp.names.Command
M.packer = {
  summary = "Put the metadata that a description asks for into a live patch.",
  operand = "DESCRIPTION",
  options = {
    {long = "livepatch", short = "l", value = "FILE", help = "the live patch, instead of the description's first line"},
    {long = "target", short = "t", value = "FILE", help = "the target library, instead of the description's `@' line"},
    {long = "output", short = "o", value = "FILE", help = "accepted and ignored"},
  },
  run = function(program, given, operand)
    if not operand then return "a description is missing" end
    local container, result = require "ulp".pack(operand, {container = given.livepatch, target = given.target})
    if container then
      for _, text in ipairs(result.warnings) do program:warn("%s", text) end
      program:warn("live patch '%s' packed successfully", container.path)
      return 0
    end
    for _, mistake in ipairs(result.mistakes or {result}) do
      if mistake.line and mistake.column then
        io.stdout:write(diagnostic(mistake))
      else
        program:problem(mistake)
      end
    end
    program:warn("error packing '%s'", operand)
    return 1
  end,
}

--- @type ulp.names.Command
M.post = {
  summary = "Merge the nops at the patchable entries of a library.",
  operand = "FILE",
  options = {},
  run = function(program, _, operand)
    if not operand then return "a file is missing" end
    local result, err = require "ulp".post(operand)
    if result then
      for _, one in ipairs(result.skipped) do program:debug("left alone at 0x%x: %s", one.address, one.reason) end
      for _, text in ipairs(result.warnings) do program:warn("%s", text) end
      return 0
    end
    program:problem(err)
    return 1
  end,
}

--- @type ulp.names.Command
M.livepatchable = {
  summary = "Tell whether a library can be live patched: exit status 0 if it can.",
  operand = "FILE",
  options = {},
  run = function(program, _, operand)
    if not operand then return "a file is missing" end
    local result, err = require "ulp".livepatchable(operand)
    local is = result and result.livepatchable
    program:warn("file '%s' is %s", operand,
      is and "livepatchable." or "not livepatchable: " .. (err or result).message)
    return is and 0 or 1
  end,
}

--- @type ulp.names.Command
M.extract = {
  summary = "Write the symbols of a library as JSON, for packing without the library.",
  operand = "FILE",
  options = {
    {long = "output", short = "o", value = "FILE", help = "`out.json' unless given; `-' is standard output"},
    {long = "debuginfo", short = "d", value = "FILE", help = "separate debug information of the library"},
  },
  run = function(program, given, operand)
    if not operand then return "a file is missing" end
    local output = given.output or "out.json"
    local file = output ~= "-" and output or nil
    local extract, err = require "ulp".extract(operand, {output = file, debuginfo = given.debuginfo})
    if not extract then
      program:problem(err)
      return 1
    end
    if not file then io.stdout:write(require "ulp.extract".json(extract)) end
    return 0
  end,
}

return M
