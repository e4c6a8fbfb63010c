-- timeout: 200
-- A sample of the kill sweep: the tool dies at system calls and at random moments, or the target does, or calls fail; the judge
-- is not ulpsh.
local t = require "ulp.scenario"
local core = require "ulp.core"

local sweep = t.here .. "/../../scripts/sweep.d/sweep.py"
local function run(...)
  local command = {
    timeout = 190, join = true,
    "python3", sweep, "--tool", core.executable_path, "--targets", (t.path "endurer"):match "^(.*)/", "--seed", "1", ...,
  }
  local child <close> = t.spawn(command)
  local exit = t.ok(child:wait(185), "the sweep ends")
  child:drain()
  t.eq(exit, {code = 0}, "nothing was found:\n" .. child.transcript)
  print(child.transcript:match "\n[^\n]*(operation .*)$")
end

run("--threads", "1", "--how", "call", "--how", "target", "--signal", "SIGKILL", "--signal", "SIGSEGV", "--operation", "set",
  "--sample", "3")
run("--threads", "8", "--how", "error", "--operation", "revert", "--operation", "set", "--sample", "8")
run("--threads", "8", "--how", "random", "--random", "10", "--signal", "SIGKILL", "--operation", "apply")
