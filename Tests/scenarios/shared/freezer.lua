--- Control groups that freeze what is in them, made and removed by whoever uses them.
local t = require "ulp.scenario"

local M = {}

local function write(path, text)
  local file = io.open(path, "w")
  return file and file:write(text) and file:close() and true or false
end

local Group = {}
Group.__index = Group

function Group:add(pid) t.ok(write(self.inner .. "/cgroup.procs", tostring(pid)), "process " .. pid .. " joins the group") end
function Group:freeze() t.ok(write(self.group .. "/" .. self.file, self.on), "the group is told to freeze") end
function Group:thaw() t.ok(write(self.group .. "/" .. self.file, self.off), "the group is told to thaw") end

--- Thaws and removes both groups, as soon as what is in them has ended.
function Group:__close()
  if self.removed then return end
  write(self.group .. "/" .. self.file, self.off)
  for _ = 1, 50 do
    self.removed = os.execute(("rmdir %q %q 2>/dev/null"):format(self.inner, self.group))
    if self.removed then return end
    t.sleep(0.1)
  end
end
Group.__gc = Group.__close

--- The hierarchies in which groups can be made that freeze: for each a function that makes one, `group`, with one in it,
--- `inner`, for the processes.
function M.all()
  local makers = {}
  for line in io.lines "/proc/self/mountinfo" do
    local point, kind, options = line:match "^%S+ %S+ %S+ %S+ (%S+) .* %- (%S+) %S+ (%S+)$"
    local file = kind == "cgroup2" and "cgroup.freeze" or kind == "cgroup" and options:find "freezer" and "freezer.state"
    local group = ("%s/ulpsh-test-%d"):format(point, math.random(1 << 30))
    if file and os.execute(("mkdir %q 2>/dev/null"):format(group)) then
      local freezes = io.open(group .. "/" .. file)
      if freezes then freezes:close() end
      os.execute(("rmdir %q"):format(group))
      makers[#makers + 1] = freezes and function()
        local made = setmetatable({group = group, inner = group .. "/inner", file = file}, Group)
        made.on, made.off = table.unpack(kind == "cgroup2" and {"1", "0"} or {"FROZEN", "THAWED"})
        t.ok(os.execute(("mkdir %q %q"):format(made.group, made.inner)), "two groups")
        return made
      end
    end
  end
  return makers
end

return M
