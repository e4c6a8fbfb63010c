-- timeout: 60
-- The program unloads a patched library, and loads it again at the same place and at another: the patch is lost, which check,
-- patches and plan say; a revert removes what is left of it, a fresh trigger works. A pinned library stays.
local t = require "ulp.scenario"
local ulp = require "ulp"

local library = t.path "libversion.so.0"
local c <close> = t.target {"loader", library, "version", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local runtime = assert(p:runtime())
local one, two = t.patch "version_1", t.patch "version_2"

local function is_mapped(path)
  for line in io.lines(("/proc/%d/maps"):format(c.pid)) do
    if line:find(path, 1, true) then return true end
  end
  return false
end

local function shows(version)
  local others = {}
  for other = 0, 3 do if other ~= version then others[#others + 1] = "version=" .. other end end
  c:ask("call", ("version=%d\n"):format(version), {reject = others})
  t.unharmed(c.pid)
end

local function where()
  c:send "where\n"
  return c:expect("where=(%x+)\n", {pattern = true})
end

local function open() c:ask("open", "open\n") end
local function close()
  c:ask("close", "close=0\n")
end

local function lost(fix, reason)
  local found = ulp.check(p, fix)
  t.eq({found.state, found.code, found.applied, found.attention}, {"failed", "patch.lost", false, true})
  t.ok(found.message:find(reason, 1, true), found.message)
  local listed
  for _, patch in ipairs(ulp.patches(p)) do listed = listed or patch.path == fix and patch end
  t.eq({listed.state, listed.applied}, {"lost", false})
  t.ok(listed.lost:find(reason, 1, true), listed.lost)
end

open()
shows(0)
t.state(ulp.trigger(p, one), "done")
shows(1)

-- Unloaded.
close()
t.ok(not is_mapped(library), "the library has gone")
lost(one, "was unloaded")
t.refused("target.not_loaded", function() return ulp.trigger(p, one) end)
local result = t.state(ulp.revert(p, one), "done", "revert of a lost patch")
t.eq({#result.cleaned, result.cleaned[1].path, result.cleaned[1].state}, {1, one, "unloaded"})
t.ok(result.cleaned[1].lost:find "was unloaded")
t.ok(not is_mapped(one), "its container has gone")
t.state(ulp.revert(p, one), "already", "once more")
t.eq(ulp.check(p, one).code, "patch.not_applied")
t.eq(#runtime:patches(), 0, "nothing is remembered")

for _, place in ipairs {"same", "other"} do
  open()
  local before = where()
  t.state(ulp.trigger(p, one), "done")
  shows(1)
  close()
  if place == "other" then c:ask("occupy", "occupy=0\n") end
  open()
  t.eq(where() == before, place == "same", "the place is " .. place)
  shows(0)
  lost(one, place == "same" and "loaded again" or "was unloaded")
  if place == "same" then
    local plan = assert(ulp.plan(p, one))
    t.ok(tostring(plan):find "write off" and plan.lost[1].path == one, "the plan says what it cleans up")
  end
  shows(0)
  t.state(ulp.trigger(p, one), "done", "a fresh trigger")
  shows(1)
  t.state(ulp.check(p, one), "done")
  t.state(ulp.trigger(p, two), "done", "and another version")
  shows(2)
  t.state(ulp.revert(p, {one, two}), "done")
  shows(0)
  close()
end

-- What was lost does not come back by a revert of what came after it.
open()
t.state(ulp.trigger(p, one), "done")
close()
open()
t.state(ulp.trigger(p, two), "done")
shows(2)
t.state(ulp.revert(p, two), "done")
shows(0)
t.eq(ulp.check(p, one).code, "patch.not_applied")

-- Two versions are lost together; the command line says so.
t.state(ulp.trigger(p, {one}), "done")
t.state(ulp.trigger(p, {two}), "done")
close()
open()
local list <close> = t.ulpsh {"patches", "-p", tostring(c.pid), timeout = 20}
list:expect("lost: libversion.so.0 was unloaded and loaded again")
list:expect_exit(0)
local check <close> = t.ulpsh {"check", "-p", tostring(c.pid), one, timeout = 20}
check:expect_exit(5)
t.eq(#t.state(ulp.revert(p, {two, one}), "done").cleaned, 2)
shows(0)
t.eq(#runtime:patches(), 0, "nothing is remembered")
for _, fix in ipairs {one, two} do t.ok(not is_mapped(fix), fix .. " has gone") end

-- Unloaded between the switch and the settling, with stubs that lead into it, and loaded again in one case.
for _, again in ipairs {false, true} do
  do
    local staged <close> = t.insist(function() return runtime:stage(assert(ulp.plan(p, one))) end)
    t.ok(t.insist(function() return p:switch(staged) end).switched)
    c:ask("call", "version=1\n", {reject = "version=0"})
    close()
    if again then open() end
    t.insist(function() return runtime:settle(staged) end)
  end
  t.eq(runtime:state(), "idle")
  lost(one, again and "loaded again" or "was unloaded")
  if not again then open() end
  shows(0)
  t.state(ulp.trigger(p, one), "done")
  shows(1)
  t.state(ulp.revert(p, one), "done")
  shows(0)
end
t.eq(#runtime:patches(), 0, "nothing is remembered")

-- A replacement clears away what was lost of its library.
t.state(ulp.trigger(p, one), "done")
close()
open()
t.eq(#t.state(ulp.replace(p, "libversion.so.0", two), "done").cleaned, 1)
shows(2)
t.state(ulp.revert_all(p, "libversion.so.0"), "done")
shows(0)

-- Somebody else takes the detour away: the library is the same, and that is said.
t.state(ulp.trigger(p, one), "done")
p:write_text(assert(p:symbol "version"), "\x66\x90")
shows(0)
lost(one, "taken away")
t.state(ulp.trigger(p, one), "done")
shows(1)
t.state(ulp.revert(p, one), "done")
shows(0)

-- Pinned: the library outlives dlclose until the revert.
t.state(ulp.trigger(p, one, {pin = true}), "done")
shows(1)
close()
t.ok(is_mapped(library), "the library is held")
t.state(ulp.check(p, one), "done")
t.eq({runtime:patches()[1].state, runtime:patches()[1].pinned}, {"applied", true})
t.state(ulp.revert(p, one), "done")
t.ok(not is_mapped(library) and not is_mapped(one), "released with the revert")
open()
shows(0)
t.state(ulp.trigger(p, one, {pin = true, unload = false}), "done")
close()
t.eq(t.state(ulp.revert(p, one), "done").containers[1].state, "retired")
t.ok(not is_mapped(library) and is_mapped(one), "released although the container is kept")
open()
t.state(ulp.trigger(p, one, {unload = true}), "done", "the kept one again")
shows(1)
t.state(ulp.revert(p, one, {unload = true}), "done")
t.ok(not is_mapped(one))
shows(0)
