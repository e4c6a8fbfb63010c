-- timeout: 60
-- With SUSE's runtime, which knows nothing of libraries that go: the program unloads a patched library and loads it again, at the
-- same place and at another. The patch is told to be lost, and the runtime is never asked to touch what is not there.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"loader", t.path "libversion.so.0", "version", preload = t.path "suse/libpulp.so", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local runtime = assert(p:runtime())
local one, two = t.patch "version_1", t.patch "version_2"

local function shows(version)
  local others = {}
  for other = 0, 2 do if other ~= version then others[#others + 1] = "version=" .. other end end
  c:ask("call", ("version=%d\n"):format(version), {reject = others})
  t.unharmed(c.pid)
  t.eq({runtime:state(), runtime:error_state()}, {"idle", 0})
end
local function where()
  c:send "where\n"
  return c:expect("where=(%x+)\n", {pattern = true})
end
local function is_lost(words)
  p:refresh() -- what was learnt of libraries a moment ago is believed for a moment
  t.eq({ulp.check(p, one).code, ulp.patches(p)[1].state}, {"patch.lost", "lost"})
  t.ok(ulp.patches(p)[1].lost:find(words, 1, true), ulp.patches(p)[1].lost)
end

c:ask("open", "open\n")
t.state(ulp.trigger(p, one), "done")
shows(1)
local place = where()
c:ask("close", "close=0\n")
is_lost "was unloaded"
t.refused("target.not_loaded", function() return ulp.trigger(p, one) end)
t.refused("patch.lost", function() return ulp.revert(p, one) end)
t.unharmed(c.pid)

-- At the same place: what is left of the patch can be taken back, or the patch applied once more.
c:ask("open", "open\n")
shows(0)
if where() == place then
  is_lost "loaded again"
  t.state(ulp.trigger(p, one), "done", "once more")
  shows(1)
  t.eq(#runtime:patches(), 1, "it is listed once")
  t.state(ulp.revert(p, one), "done")
  shows(0)
  t.state(ulp.trigger(p, one), "done")
  shows(1)
  c:ask("close", "close=0\n")
  c:ask("open", "open\n")
  shows(0)
  t.eq(#t.state(ulp.revert(p, one), "done", "what was lost").cleaned, 1)
  t.eq(#runtime:patches(), 0)
  shows(0)
  t.state(ulp.trigger(p, one), "done")
end

-- At another place: the runtime keeps the old one on its list, and other patches work.
c:ask("close", "close=0\n")
c:ask("occupy", "occupy=0\n")
c:ask("open", "open\n")
t.ok(where() ~= place, "it is somewhere else")
shows(0)
t.refused("patch.lost", function() return ulp.revert(p, one) end)
t.refused("patch.lost", function() return ulp.trigger(p, one) end)
shows(0)
t.state(ulp.trigger(p, two), "done", "another patch")
shows(2)
t.state(ulp.revert(p, two), "done")
shows(0)
