--- Taking live patches back.
local M = {}

local transition = require "ulp.transition"
local plans = require "ulp.plan"

--- The ids that containers, paths or ids stand for.
local function ids_of(patches)
  if type(patches) ~= "table" then patches = {patches} end
  local ids = {}
  for index, patch in ipairs(patches) do
    local is_id = type(patch) == "string" and #patch == 64 and patch:match "^%x+$"
    ids[index] = is_id and patch or plans.container(patch).id
  end
  return ids
end

--- Those of the ids whose patches are in this state.
local function in_state(runtime, ids, state)
  local listed, found = {}, {}
  for _, patch in ipairs(runtime:patches()) do
    if patch.state == state then listed[patch.id] = true end
  end
  for _, id in ipairs(ids) do
    if listed[id] then found[#found + 1] = id end
  end
  return found
end

--- Takes patches of a process back, all of them in one step. Versions above and below them stay: a function goes to the
--- newest version that is left, or to its original. What is not applied is `already`. A patch whose library the program has
--- unloaded is written off, and its container given back: `cleaned` in the result.
---
---     ulp.revert(p, "fix.so")
---
--- @param p ulp.Process|integer|(ulp.Process|integer)[]
--- @param patches string|ulp.Container|(string|ulp.Container)[] containers, their paths, or patch ids
--- @param options? ulp.ChangeOptions
--- @return table result `containers` says which were unloaded, which retired and why
function M.revert(p, patches, options)
  options = transition.options(options)
  plans.insist(patches, "a container, its path, a patch id, or a list of them")
  local ids = ids_of(patches)
  return transition.each(p, function(process)
    return transition.run(process, function(target, runtime)
      local lost = in_state(runtime, ids, "lost")
      local cleaned = #lost > 0 and not options.dry_run and runtime:forget(lost, {seccomp = options.seccomp}) or nil
      local wanted = in_state(runtime, ids, "applied")
      if #wanted == 0 then return nil, nil, cleaned end
      return assert(plans.plan(target, {}, wanted)), wanted, cleaned
    end, options)
  end)
end

--- Takes every patch of a library back, in one step. A library without patches is `already`.
---
---     ulp.revert_all(p, "libz.so.1")
---
--- @param p ulp.Process|integer|(ulp.Process|integer)[]
--- @param library string file name of the target library
--- @param options? ulp.ChangeOptions
--- @return table result `reverted` lists the ids
function M.revert_all(p, library, options)
  plans.insist(library, "the file name of a library")
  return require("ulp.replace").replace(p, library, {}, options)
end

--- `ulp.revert_all` that returns `nil, err` instead of raising.
function M.try_revert_all(...) return transition.try(M.revert_all, ...) end

--- `ulp.revert` that returns `nil, err` instead of raising.
function M.try_revert(...) return transition.try(M.revert, ...) end

return M
