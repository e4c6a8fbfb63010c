--- Live patching of running programs.
---
--- Primitives come from Swift (`ulp.core`), workflows from the modules beside this file. Each is loaded when it is first
--- used: `ulp.trigger` reads `ulp/trigger.lua`.
---
--- ```lua
--- local p = assert(ulp.attach(4242))
--- ulp.trigger(p, "fix.so")
--- ```
--- @class ulp
local M = {}

--- Swift's part is built when it is first needed: a script that patches nothing does not pay for it.
--- @return table
local function core() return require "ulp.core" end

--- Functions that live in a module of another name. The rest is found by name: `ulp.NAME` is the function `NAME` of
--- `ulp/NAME.lua`, or that module's table (or function) itself.
--- @type table<string, string>
local home = {
  container = "ulp.core",
  processes = "ulp.inventory",
  patches = "ulp.inventory",
  messages = "ulp.inventory",
  try_trigger = "ulp.trigger",
  try_set_patchable = "ulp.set_patchable",
  try_revert = "ulp.revert",
  revert_all = "ulp.revert",
  try_revert_all = "ulp.revert",
  try_replace = "ulp.replace",
}

--- The file of a module, or what keeps it from being read: `require` and `package.searchpath` take one that cannot be opened,
--- for want of descriptors or memory, for one that is not there.
--- @param module string
--- @return string? path, string? reason
local function find(module)
  for template in package.path:gmatch "[^;]+" do
    local path = template:gsub("%?", (module:gsub("%.", "/")))
    local file, reason, number = io.open(path)
    if file then
      file:close()
      return path
    end
    if number ~= 2 and number ~= 20 then return nil, reason end -- ENOENT, ENOTDIR
  end
end

table.insert(package.searchers, function(module)
  if module:sub(1, 4) ~= "ulp." then return nil end
  local path, reason = find(module)
  if path then return assert(loadfile(path)), path end
  if reason then error(("module '%s' cannot be read: %s"):format(module, reason), 0) end
end)

--- @param module string
--- @return boolean
local function is_there(module)
  local path, reason = find(module)
  if reason then error(("module '%s' cannot be read: %s"):format(module, reason), 0) end
  return path ~= nil
end

--- Loads the module that has the member `name`; nil if there is none.
--- @param name string
--- @return any
local function load_member(name)
  if name == "core" then return core() end
  if home[name] then
    local found, module = pcall(require, home[name])
    if found then return module[name] end
    if is_there(home[name]) then error(module, 0) end
    return core()[name]
  end
  if not is_there("ulp." .. name) then return core()[name] end
  local module = require("ulp." .. name)
  if type(module) == "table" and rawget(module, name) ~= nil then return module[name] end
  return module
end

--- The names that completion offers, beyond what is loaded already.
--- @return table<string, any>
local function complete()
  local names = {}
  for name, value in pairs(core()) do names[name] = value end
  for name in pairs(home) do names[name] = true end
  for _, name in ipairs {"cc", "check", "container", "error", "help", "replace", "revert", "set_patchable", "spawn", "trigger"} do
    if package.searchpath("ulp." .. name, package.path) then names[name] = true end
  end
  return names
end

return setmetatable(M, {
  __name = "ulp",
  __complete = complete,
  __index = function(self, name)
    if type(name) ~= "string" or not name:match "^%a[%w_]*$" then return nil end
    local value = load_member(name)
    if value ~= nil then rawset(self, name, value) end
    return value
  end,
})
