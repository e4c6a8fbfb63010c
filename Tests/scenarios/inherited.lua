-- timeout: 30
-- What a careless parent leaves to the tool: closed descriptors, SIGCHLD ignored, SIGCHLD and SIGALRM blocked.
local t = require "ulp.scenario"

local fix = t.patch "dozens_13"
local tool = require("ulp.core").executable_path
local script = t.write_file(t.directory() .. "/change.lua", [[
local c <close> = ulp.spawn{"/bin/sh", "-c", "exit 7"}
local code = c:wait(5).code
local state = ulp.trigger(tonumber(arg[1]), arg[2], {max_pause = 1}).state
os.exit(code == 7 and (state == "done" or state == "already") and 5 or 1)
]])
for _, how in ipairs {
  "exec %s", "exec <&- >&- 2>&-; exec %s", "exec env --ignore-signal=CHLD %s", "exec env --block-signal=CHLD,ALRM %s",
} do
  local c <close> = t.target {"numserv", timeout = 20}
  local command = how:format(("%q %q %d %q"):format(tool, script, c.pid, fix))
  local run <close> = t.spawn {"/bin/sh", "-c", command, timeout = 20}
  run:expect_exit(5)
  c:ask("dozen", "13\n", {reject = "12"})
  t.unharmed(c.pid)
end
