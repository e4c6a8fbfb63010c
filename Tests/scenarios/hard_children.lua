-- timeout: 120
-- slow
-- Children forked by a busy parent, old or patched: each starts as its parent was, and is patched and reverted by itself.
local t = require "ulp.scenario"
local ulp = require "ulp"

local fix = t.patch "dozens_13"
local c <close> = t.target {"forker", "3", timeout = 30}
local p <close> = assert(ulp.attach(c.pid))

local function says(who, number)
  c:ask(who == "parent" and "dozen" or "ask", ("%s says %d\n"):format(who, number), {
    reject = ("%s says %d"):format(who, number == 12 and 13 or 12),
  })
end

--- Changes the newest child to and fro, ending with `number`, while the parent stays as it is.
local function child_changes(child, number, parents)
  for _, to in ipairs {number == 12 and 13 or 12, number} do
    t.state((to == 13 and ulp.trigger or ulp.revert)(child, fix, {timeout = 20}), "done", "the child to " .. to)
    says("child", to)
    says("parent", parents)
  end
  t.unharmed(child.pid)
  t.unharmed(c.pid)
end

for _ = 1, 4 do
  for _, number in ipairs {12, 13} do
    if number == 13 then t.state(ulp.trigger(p, fix, {timeout = 20}), "done", "the parent") end
    c:send "fork\n"
    local pid = math.tointeger(tonumber((c:expect("child=(%d+)\n", {pattern = true}))))
    local child <close> = assert(ulp.attach(pid))
    says("child", number)
    t.eq(ulp.check(child, fix).applied, number == 13, "whether the child is patched")
    child_changes(child, number, number)
    if number == 13 then
      -- The parent goes back alone; the child stays, and then goes back too.
      t.state(ulp.revert(p, fix, {timeout = 20}), "done", "the parent back")
      says("parent", 12)
      says("child", 13)
      t.state(ulp.revert(child, fix, {timeout = 20}), "done", "the child back")
      says("child", 12)
    end
  end
end
t.unharmed(c.pid)
