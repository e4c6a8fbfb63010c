-- A patch for another build of the library is refused from what can be read: no thread is stopped, nothing is loaded, and both
-- builds are named.
local t = require "ulp.scenario"
local ulp = require "ulp"
local core = require "ulp.core"

local c <close> = t.target "numserv"
local p <close> = assert(ulp.attach(c.pid))
local foreign = t.patch("dozens_13", {as = "foreign", target = t.path "other/libdozens.so.0"})
local here, there = p.libs["libdozens.so.0"].build_id, assert(ulp.container(foreign)).target_build_id
t.ok(here ~= there, "the builds differ")

local before = t.snapshot(c.pid)
local function refused()
  for _, try in ipairs {
    function() return ulp.trigger(p, foreign) end, function() return ulp.plan(p, foreign) end,
    function() return ulp.replace(p, "libdozens.so.0", foreign) end,
    function() return ulp.trigger(p, {t.patch "hundreds_200", foreign}) end,
  } do
    local said = t.refused("target.build_id", try)
    for _, word in ipairs {"libdozens.so.0", here, there, tostring(c.pid)} do
      t.ok(said.message:find(word, 1, true), ("%s is named in: %s"):format(word, said.message))
    end
  end
end
refused()

--- Applies a patch under strace, and counts the calls of ptrace(2).
local function ptrace_calls(patch, code)
  local log, tool <close> = t.directory() .. "/log", t.spawn {
    "strace", "-f", "-qq", "-e", "trace=ptrace", "-o", t.directory() .. "/log", core.executable_path, "trigger", "-p",
    tostring(c.pid), patch, timeout = 25,
  }
  tool:expect_exit(code)
  return select(2, t.read_file(log):gsub("ptrace%(", ""))
end
t.eq(ptrace_calls(foreign, 1), 0, "calls of ptrace for the refused one")
t.unchanged(c.pid, before)
c:ask("dozen", "12\n", {reject = "13"})
c:ask("hundred", "100\n", {reject = "200"})
t.ok(ptrace_calls(t.patch "hundreds_200", 0) > 0, "they are counted where there are some")
c:ask("hundred", "200\n", {reject = "100"})

-- The same file name in the program that has the other build: there it fits.
local d <close> = t.target {"numserv", env = {LD_LIBRARY_PATH = t.path "other"}}
t.state(ulp.trigger(d.pid, foreign), "done")
d:ask("dozen", "13\n", {reject = "12"})
t.refused("target.build_id", function() return ulp.trigger(d.pid, t.patch "dozens_13") end)
t.state(ulp.revert(d.pid, foreign), "done")
d:ask("dozen", "12\n", {reject = "13"})
