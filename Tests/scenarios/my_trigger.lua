-- timeout: 60
-- Forty lines of Lua on the primitives patch a process, and leave nothing behind when they raise between any two steps.
local t = require "ulp.scenario"
local ulp = require "ulp"
local my_trigger = t.shared "my_trigger"

local lines = select(2, t.read_file(t.here .. "/shared/my_trigger.lua"):gsub("\n", "\n"))
t.ok(lines <= 45, "it is short: " .. lines .. " lines")

local c <close> = t.target "numserv"
local fix = t.patch "dozens_13"
local clean = t.snapshot(c.pid)
c:ask("dozen", "12\n", {reject = "13"})

local steps = {}
t.ok(my_trigger(c.pid, fix, function(step) steps[#steps + 1] = step end) >= 0, "it tells the pause")
c:ask("dozen", "13\n", {reject = "12"})
t.state(ulp.check(assert(ulp.attach(c.pid)), fix), "done", "what it did is what ulp.check looks for")
t.state(ulp.revert(assert(ulp.attach(c.pid)), fix), "done", "and what ulp.revert undoes")
c:ask("dozen", "12\n", {reject = "13"})
t.ok(#steps >= 7, "it has steps")

for index, where in ipairs(steps) do
  local done, err = pcall(my_trigger, c.pid, fix, function(step)
    if step == where then error("raised after: " .. step, 0) end
  end)
  t.eq({done, err}, {false, "raised after: " .. where})
  t.unharmed(c.pid)
  local p <close> = assert(ulp.attach(c.pid))
  t.eq(p:runtime():state(), "idle", "no operation is pending after: " .. where)
  if where == "switched" or where == "settled" then
    -- The commit was made; an error behind it cannot unmake it, but it must be complete.
    c:ask("dozen", "13\n", {reject = "12"})
    t.state(ulp.revert(p, fix), "done", where)
  end
  c:ask("dozen", "12\n", {reject = "13"})
  t.eq(#ulp.patches(p), 0, "nothing is applied after: " .. where)
  if index <= 4 then t.eq(t.text(c.pid, "libhundreds.so.0"), clean.text["libhundreds.so.0"]) end
end
t.state(ulp.trigger(assert(ulp.attach(c.pid)), fix), "done", "the ordinary trigger works as before")
c:ask("dozen", "13\n", {reject = "12"})
