--- Runs scenarios that were written for ulpsh with SUSE's tool in its place: what applies, reverts and checks is the stand-in
--- for that tool (Tests/doubles), everything else stays as it is.
local t = require "ulp.scenario"
local ulp = require "ulp"
local suse = t.shared "suse"

local M = {changes = 0}

local function each(patches) return type(patches) == "table" and patches or {patches} end

--- What ulpsh says where that tool has a number, as far as the scenarios ask for it.
local codes = {ENOPATCHABLE = "entry.crosses_page", ENOTARGETLIB = "target.not_loaded"}

local function run(...)
  local found = suse.patiently(...)
  if found.name == "ENONE" then return end
  if not codes[found.name] then error(("suse_ulp %s: %s"):format(table.concat({...}, " "), found.text), 0) end
  return {state = "failed", code = codes[found.name], message = found.name, hint = "it is SUSE's tool"}
end

local function change(p, patches, options, ...)
  local words = {...}
  if options and options.root then table.move({"-R", options.root}, 1, 2, #words + 1, words) end
  local pid = math.type(p) == "integer" and p or p.pid
  words[#words + 1] = "trigger"
  words[#words + 1] = pid
  for _, patch in ipairs(patches) do
    words[#words + 1] = type(patch) == "string" and patch or patch.path
    local refusal = run(table.unpack(words))
    if refusal then return refusal end
    words[#words] = nil
    M.changes = M.changes + 1
  end
  return {state = "done", pid = pid}
end

local verbs = {}

function verbs.trigger(p, patches, options) return change(p, each(patches), options) end

function verbs.revert(p, patches, options)
  local backwards = {}
  for _, patch in ipairs(each(patches)) do table.insert(backwards, 1, patch) end
  return change(p, backwards, options, "--revert")
end

function verbs.check(p, patch)
  local applied = suse.applied({pid = p.pid}, patch)
  return {state = applied and "done" or "skipped", applied = applied}
end

--- Runs a scenario of this directory with SUSE's tool; fails unless that tool has changed something.
---@param name string
function M.run(name)
  local before, own = M.changes, {}
  for verb, replacement in pairs(verbs) do own[verb], ulp[verb] = ulp[verb], replacement end
  local done, reason = xpcall(dofile, debug.traceback, ("%s/%s.lua"):format(t.here, name))
  for verb, original in pairs(own) do ulp[verb] = original end
  if not done then error(("%s, driven by SUSE's tool: %s"):format(name, tostring(reason)), 0) end
  t.ok(M.changes > before, name .. ": SUSE's tool has changed something")
end

return M
