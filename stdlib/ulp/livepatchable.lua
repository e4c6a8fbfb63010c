--- Which functions of a library can be patched.
local M = {}

local core = require "ulp.core"
local err = require "ulp.error"

--- @class ulp.Livepatchable
--- @field path string
--- @field build_id string empty if there is none
--- @field livepatchable boolean one function at least can be patched, and there is a build ID
--- @field patchable integer how many functions can be patched
--- @field unpatchable integer
--- @field functions ulp.LivepatchableFunction[] by address
--- @field warnings string[]
--- @field message? string why the file cannot be patched at all

--- @class ulp.LivepatchableFunction
--- @field name string
--- @field address integer
--- @field size integer
--- @field exported boolean
--- @field patchable boolean
--- @field code? string why not: `entry.not_prepared`, `entry.indirect`, `entry.crosses_page`
--- @field reason? string
--- @field clones? string[] copies that the compiler made of it for some callers, which a patch does not reach
--- @field inlined? boolean its code is also in callers, which a patch does not reach; nil if nothing tells

--- The file of a library as the loader would find it; nil if there is none.
local function library(name)
  -- A fixed command: nothing of the name reaches a shell.
  for _, program in ipairs {"/sbin/ldconfig", "/usr/sbin/ldconfig"} do
    local list = io.popen(program .. " -p 2>/dev/null")
    if list then
      local found
      for line in list:lines() do
        local soname, kind, path = line:match "^%s*(%S+) %((.-)%) => (%S+)$"
        if soname == name and kind:find("x86-64", 1, true) then found = found or path end
      end
      list:close()
      if found then return found end
    end
  end
end

--- Looks at every function of a library or program.
---
---     print(ulp.livepatchable "libdozen.so.0".patchable)
---
--- @param file string path, or the name of a library that the loader knows, such as `libz.so.1`
--- @param options? {debuginfo: string?} separate debug information
--- @return ulp.Livepatchable?
--- @return ulp.Error? err
function M.livepatchable(file, options)
  local path = file
  if not file:find("/", 1, true) then
    local probe = io.open(file, "rb")
    if probe then probe:close() else path = library(file) end
  end
  if not path then
    return nil, err.new("file.unreadable", ("there is no file and no library %s"):format(file), {path = file})
  end
  local survey, problem = core.patchability(path, options and options.debuginfo)
  if not survey then return nil, problem end
  if survey.build_id == "" then
    survey.message = "it has no build ID"
  elseif survey.patchable == 0 then
    survey.message = "no function has a patchable entry"
  end
  return survey
end

--- For people: what cannot be patched and why, or everything.
--- @param survey ulp.Livepatchable
--- @param all boolean
--- @return string
function M.text(survey, all)
  local clean = require "ulp.render.pretty".clean
  local total = survey.patchable + survey.unpatchable
  local lines = {("%s: %s, %d of %d functions"):format(clean(survey.path),
    survey.livepatchable and "livepatchable" or "not livepatchable: " .. survey.message, survey.patchable, total)}
  local width = 8
  for _, one in ipairs(survey.functions) do width = math.min(40, math.max(width, #one.name)) end
  for _, one in ipairs(survey.functions) do
    local notes = {}
    if not one.patchable then notes[1] = ("%s [%s]"):format(one.reason, one.code) end
    if one.patchable and one.inlined then notes[#notes + 1] = "inlined copies are not reached" end
    if one.patchable and one.clones then notes[#notes + 1] = "not reached: " .. table.concat(one.clones, ", ") end
    local is_shown = all or survey.livepatchable and #notes > 0
    if is_shown then
      lines[#lines + 1] = ("  %s  %s"):format(clean(("%-" .. width .. "s"):format(one.name)),
        clean(#notes > 0 and table.concat(notes, "; ") or "patchable"))
    end
  end
  for _, warning in ipairs(survey.warnings) do lines[#lines + 1] = "  warning: " .. clean(warning) end
  return table.concat(lines, "\n")
end

return M
