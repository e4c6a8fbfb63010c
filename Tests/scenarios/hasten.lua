-- During one change ulpsh comes before other programs, where it may; afterwards nothing of that is left anywhere.
local t = require "ulp.scenario"
local core = require "ulp.core"

--- setpriority(2)'s value as proc(5) has it: the 19th field.
local function niceness(pid)
  local file <close> = assert(io.open(("/proc/%s/stat"):format(pid)))
  return tonumber((file:read "a":match "%) (.*)":gsub("^%S+ ", "", 1):match("^" .. ("%S+ "):rep(15) .. "(%S+)")))
end

local before = niceness "self"
t.eq(core.hasten(true), false, "it was not in a hurry")
if core.user_id() == 0 then t.eq(niceness "self", -20, "the priority of a change") end
t.eq(core.hasten(true), core.user_id() == 0, "once is enough")
local child <close> = t.spawn {"/bin/sh", "-c", "nice"}
child:expect(tostring(before) .. "\n", {reject = "-20"})
core.hasten(false)
t.eq(niceness "self", before, "the priority after a change")

local c <close> = t.target {"threads", "40"}
local fix = t.patch "dozens_13"
local result, undo = ulp.trigger(c.pid, fix)
t.state(result, "done")
t.eq(niceness "self", before, "the priority after an apply")
t.ok(result.pause_us > 0 and result.carrier_us > 0, "what it cost is told")
c:ask("tell", "dozen=13.", {reject = "dozen=12."})
t.state(undo(), "done")
t.eq(niceness "self", before, "the priority after a revert")
t.eq(niceness(c.pid), before, "the target's priority")
c:ask("tell", "dozen=12.", {reject = "dozen=13."})
t.refused("file.unreadable", function() return ulp.trigger(c.pid, "/nowhere.so") end)
t.eq(niceness "self", before, "the priority after a refusal")
t.unharmed(c.pid)

-- For many processes nothing of the kind.
local children = {}
for index = 1, 5 do children[index] = t.target {"numserv"} end
local pids = {}
for index, one in ipairs(children) do pids[index] = one.pid end
core.hasten(true)
for _, one in ipairs(ulp.trigger(pids, fix)) do t.state(one, "done") end
t.eq(niceness "self", before, "the priority during and after the work for five")
for _, one in ipairs(children) do one:kill() end
