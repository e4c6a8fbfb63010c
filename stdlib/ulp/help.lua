--- Help from the comments of the source: what the file says is what `help` shows.
local M = {}

local core = require "ulp.core"

--- Lines of a file; nil if it cannot be read.
local function lines_of(path)
  local file = path and io.open(path)
  if not file then return nil end
  local lines = {}
  for line in file:lines() do lines[#lines + 1] = line end
  file:close()
  return lines
end

--- The source file of a module of the standard library.
--- @param name string? with `/` or `.` between its parts
local function source_of(name)
  return name and core.stdlib_path and ("%s/%s.lua"):format(core.stdlib_path, (name:gsub("%.", "/")))
end

--- `---` comment lines as text: tags in words, code fences left out.
local function readable(comments)
  local text = {}
  for _, line in ipairs(comments) do
    line = line:gsub("^%s*%-%-%-%s?", "")
    local name, rest = line:match "^@param%s+([%w_?.]+)%s+(.+)$"
    if name then
      line = ("  %s: %s"):format(name, rest)
    elseif line:match "^@return" then
      line = "  returns " .. line:gsub("^@return%s+", "")
    elseif line:match "^@field" then
      line = "  ." .. line:gsub("^@field%s+", "")
    elseif line:match "^@" or line:match "^```" then
      line = nil
    end
    if line then text[#text + 1] = line end
  end
  return table.concat(text, "\n"):gsub("\n+$", "")
end

--- The comment that ends right above line `last`.
local function comment_above(lines, last)
  local first = last
  while first > 1 and lines[first - 1]:match "^%s*%-%-%-" do first = first - 1 end
  if first == last then return nil end
  return readable {table.unpack(lines, first, last - 1)}
end

--- The comment at the top of a file.
local function comment_at_top(lines)
  local comments = {}
  for _, line in ipairs(lines) do
    if not line:match "^%-%-%-" then break end
    comments[#comments + 1] = line
  end
  return #comments > 0 and readable(comments) or nil
end

--- The signature and comment of a Lua function.
local function describe_lua(f)
  local info = debug.getinfo(f, "S")
  local path = info.source:match "^@(.*)$"
  -- Compiled code names the file that it was made of, which an installation that was moved has elsewhere.
  local lines = lines_of(path) or path and lines_of(source_of(path:match "/stdlib/(.*)%.lua$"))
  if not lines or not lines[info.linedefined] then return nil end
  local signature = (lines[info.linedefined]:match "function%s*(.*)$" or "function"):gsub("^M%.", "ulp.")
  return signature, comment_above(lines, info.linedefined)
end

--- The declarations of what Swift provides: `stdlib/meta/NAME.lua`.
local meta_files = {"core", "process", "runtime", "container"}

--- The comment of the declaration `function NAME(` in the meta files.
local function describe_declared(name)
  for _, file in ipairs(meta_files) do
    local lines = lines_of(core.stdlib_path and ("%s/meta/%s.lua"):format(core.stdlib_path, file))
    for number, line in ipairs(lines or {}) do
      local signature = line:match "^function%s+(.*%))"
      if signature and signature:match "^([%w_.:]+)" :gsub("^.*[.:]", "") == name then
        return signature, comment_above(lines, number)
      end
    end
  end
end

--- The name under which `ulp` or a class has the function.
local function name_of(f)
  for name, value in pairs(core) do
    if rawequal(value, f) then return name end
  end
  for _, class in ipairs {"ulp.Process", "ulp.Runtime", "ulp.Container", "ulp.Thread", "ulp.Child"} do
    local found, members = pcall(core.members, class)
    for name, value in pairs(found and members or {}) do
      if rawequal(value, f) then return name end
    end
  end
end

local overview = [[
ulp.NAME      the library; press TAB after `ulp.`
help(X)       what a function or module does, for example help(ulp.trigger)
help "NAME"   the same by name
p = ulp.attach(PID)   a process; nothing is stopped
Ctrl-C        stops a statement, Ctrl-D leaves]]

local function describe_module(t)
  for name, module in pairs(package.loaded) do
    if rawequal(module, t) then
      local lines = lines_of(source_of(name)) or lines_of(package.searchpath(name, package.path))
      return name, lines and comment_at_top(lines)
    end
  end
end

--- What is known about a function or a module, as text.
--- @param x any a function, a module, or a name such as "trigger"
--- @return string
function M.text(x)
  if x == nil then return overview end
  local name
  if type(x) == "string" then
    name = x:gsub("^ulp%.", "")
    local ulp = require "ulp"
    local value = ulp[name]
    if value == nil then
      local signature, comment = describe_declared(name)
      if not signature then return ("nothing is known about '%s'"):format(name) end
      return ("%s\n\n%s"):format(signature, comment or "no comment")
    end
    x = value
  end
  local signature, comment
  if type(x) == "function" then
    signature, comment = describe_lua(x)
    if not comment then signature, comment = describe_declared(name or name_of(x) or "") end
  elseif type(x) == "table" then
    signature, comment = describe_module(x)
  end
  if not signature then return ("nothing is known about this %s"):format(type(x)) end
  return ("%s\n\n%s"):format(signature, comment or "no comment")
end

--- Prints help about a function or a module.
--- @param x any
function M.help(x)
  print(M.text(x))
end

return M
