-- timeout: 60
-- Without a descriptor to spare neither threads nor mappings of a process can be read: that is no licence to switch under running
-- threads, and does not mean that nothing is loaded.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"threads", "4", timeout = 20}
local fix = t.patch "mix_odd"
local p <close> = assert(ulp.attach(c.pid))
local runtime = assert(p:runtime())
local staged <close> = t.insist(function() return runtime:stage(assert(ulp.plan(p, fix))) end)

-- The first look at the libraries forgets what was read before, and so gives descriptors back.
local function libs() return p.libs end
local attempts = {
  {"switch", function() return p:switch(staged) end}, {"first look", libs, whatever = true}, {"libs", libs},
  {"maps", function() return p.maps end}, {"plan", function() return assert(ulp.plan(p, fix)) end},
}
local hoard = {}
for _, attempt in ipairs(attempts) do
  repeat
    local file = io.open("/dev/null")
    hoard[#hoard + 1] = file
  until not file
  attempt.result = table.pack(pcall(attempt[2]))
end
for _, file in ipairs(hoard) do file:close() end
t.sleep(0.05)
t.eq(t.states(c.pid):find "[tT]", nil, "threads left stopped")
local outcome
for _ = 1, 200 do -- a thread may just be inside the function
  outcome = t.insist(function() return p:switch(staged) end)
  if outcome.switched then break end
  t.sleep(0.01)
end
t.ok(outcome.switched, "the switch, with descriptors")
t.insist(function() return runtime:settle(staged) end)

for _, attempt in ipairs(attempts) do
  local name, went, said = attempt[1], table.unpack(attempt.result)
  if not attempt.whatever then
    local code = name == "plan" and "file.unreadable" or "process.permission"
    t.ok(not went and said.code == code, name .. " is refused: " .. tostring(said))
    t.ok(tostring(said.message):find "open files", name .. " says what is missing: " .. tostring(said))
  end
end
t.ok(p.libs["libmix.so.0"] and #p.maps > 10, "with descriptors again all is there")
t.state(ulp.revert(p, fix), "done")
t.unharmed(c.pid)
