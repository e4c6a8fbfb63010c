-- Nothing is left behind in the file system, and nothing is written elsewhere than beside what is made: by packing, by failing
-- to pack, and by changing a process.
local t = require "ulp.scenario"
local core = require "ulp.core"

local place, scratch = t.directory() .. "/place", t.directory() .. "/scratch"
do
  local child <close> = t.spawn {"mkdir", place, scratch}
  child:expect_exit(0)
end
local c <close> = t.target {"numserv", cwd = place}
t.write_file(place .. "/fix.so", t.read_file(t.path "dozens_13.so"))
local lines = ("%s/fix.so\n@%s\n"):format(place, t.path "libdozens.so.0")
t.write_file(place .. "/fix.dsc", lines .. "dozen:dozens_13\n")
t.write_file(place .. "/wrong.dsc", lines .. "dozen:nonesuch\n")
local before = core.list_directory(place)

--- Runs ulpsh under strace. Every file that it or the program creates must be in `place`.
local function run(code, ...)
  local log = t.directory() .. "/log"
  local tool <close> = t.spawn {
    "strace", "-f", "-qq", "-e", "trace=open,openat,openat2,creat,mkdir,mkdirat,memfd_create,symlink,symlinkat,link,linkat",
    "-o", log, core.executable_path, cwd = place, env = {TMPDIR = scratch}, timeout = 25, ...,
  }
  tool:expect_exit(code)
  local calls = 0
  for call in io.lines(log) do
    calls = calls + 1
    if call:find("O_CREAT", 1, true) or call:find "mkdir" or call:find "link" or call:find "creat%(" then
      t.ok(call:find(place, 1, true) or call:find '"%.?/?fix%.so', "created in its place: " .. call)
    end
  end
  t.ok(calls > 10, "strace saw the calls")
  t.eq(core.list_directory(place), before, "files afterwards")
  t.eq(core.list_directory(scratch), {}, "temporary files afterwards")
end

-- strace holds ulpsh, and ulpsh holds the program: that works, as nobody is traced twice.
run(0, "pack", "fix.dsc")
run(1, "pack", "wrong.dsc")
run(0, "pack", "fix.dsc")
local pid = tostring(c.pid)
c:ask("dozen", "12\n", {reject = "13"})
run(0, "trigger", "-p", pid, "fix.so")
c:ask("dozen", "13\n", {reject = "12"})
run(0, "check", "-p", pid, "fix.so")
run(0, "patches", "-p", pid)
run(0, "revert", "-p", pid, "fix.so")
c:ask("dozen", "12\n", {reject = "13"})
run(1, "trigger", "-p", pid, t.path "dozens_13.so")
t.unharmed(c.pid)
