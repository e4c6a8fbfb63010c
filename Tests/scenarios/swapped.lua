-- timeout: 60
-- A patch's file that is exchanged or written to after the last check and before the process opens it is found out by device,
-- inode, times and build ID: nothing of the change stays. In a sealed memory file it is out of reach.
local t = require "ulp.scenario"
local ulp = require "ulp"

local place = t.directory()
local c <close> = t.target {"numserv", cwd = place, timeout = 10}
local p <close> = assert(ulp.attach(c.pid))
-- Of the two the first one's constructor does it, while the second is not loaded yet.
local swap = t.patch "misdeed_swap"
local whole = t.read_file(t.patch "dozens_13")
local another = t.read_file(t.patch("dozens_slow", {as = "slow"}))
local victim, other = place .. "/victim.so", place .. "/other.so"

local function serves(dozen, hundred)
  c:ask("dozen", dozen .. "\n", {reject = tostring(25 - dozen)})
  c:ask("hundred", hundred .. "\n", {reject = tostring(300 - hundred)})
end
local function loaded()
  p:refresh()
  for _, library in ipairs(p.libs) do
    if library.path:sub(1, #place) == place and not library.path:find "/other/" then return library.path end
  end
end
local function prepare(how, contents)
  os.remove(victim)
  t.write_file(victim, whole)
  t.write_file(place .. "/victim.copy", whole)
  t.write_file(other, contents)
  t.write_file(place .. "/swap", how)
end

for _, case in ipairs {
  {"rename", another, "build ID"}, {"rename", whole, "loaded another file"}, {"link", whole, "was changed"},
  {"write", another, "build ID"}, {"touch", whole, "was changed"},
} do
  local how, contents = case[1], case[2]
  local what = ("%s, %s bytes"):format(how, contents == whole and "the same" or "other")
  prepare(how, contents)
  local patches, universe = #ulp.patches(p), p:runtime():universe()
  local before = t.snapshot(c.pid)
  local said = t.refused("container.changed", function() return ulp.trigger(p, {swap, victim}) end)
  t.ok(said.message:find(victim, 1, true), ("%s: %s"):format(what, said.message))
  t.unchanged(c.pid, before)
  t.eq({loaded(), #ulp.patches(p), p:runtime():universe(), (p:runtime():state())}, {nil, patches, universe, "idle"}, what)
  serves(12, 100)
  -- As they are now, both are taken.
  t.write_file(place .. "/swap", "nothing")
  t.state(ulp.trigger(p, {swap, victim}, {unload = true}), "done", what .. ": when it is left alone")
  serves(13, 200)
  t.state(ulp.revert(p, {swap, victim}), "done")
  serves(12, 100)
end

-- The bytes that were checked are sealed before any code of a patch runs.
for _, how in ipairs {"rename", "link", "write", "touch"} do
  prepare(how, another)
  local ids = {assert(ulp.container(swap)).id, assert(ulp.container(victim)).id}
  t.state(ulp.trigger(p, {swap, victim}, {deliver = "memfd", unload = true}), "done", how)
  serves(13, 200)
  for _, library in ipairs(p.libs) do t.ok(library.name ~= "other.so", "what is loaded") end
  t.state(ulp.revert(p, ids), "done", how)
  serves(12, 100)
end
t.unharmed(c.pid)
