-- timeout: 30
-- Without a descriptor to spare the list of threads cannot be read: that is no licence to switch under running threads.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"threads", "4", timeout = 20}
local fix = t.patch "mix_odd"
local p <close> = assert(ulp.attach(c.pid))
local runtime = assert(p:runtime())
local staged <close> = runtime:stage(assert(ulp.plan(p, fix)))

local hoard = {}
repeat
  local file = io.open("/dev/null")
  hoard[#hoard + 1] = file
until not file
local done, result = pcall(p.switch, p, staged)
for _, file in ipairs(hoard) do file:close() end

t.ok(not done and result.code == "process.permission", "no switch without a list of threads")
t.ok(tostring(result.message):find "open files", "the message says what is missing")
t.sleep(0.05)
t.eq(t.states(c.pid):find "[tT]", nil, "threads left stopped")
t.ok(p:switch(staged).switched, "the switch, with descriptors")
