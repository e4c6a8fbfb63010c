-- The same verbs as subcommands: states, exit codes, JSON lines.
local t = require "ulp.scenario"

local c <close> = t.target "numserv"
local fix, pid = t.patch "dozens_13", tostring(c.pid)

--- Runs ulpsh and returns its output after the exit code is as expected.
local function ulpsh(code, ...)
  local tool <close> = t.ulpsh {timeout = 20, ...}
  tool:expect_exit(code)
  return tool:drain()
end

c:ask("dozen", "12\n", {reject = "13"})
ulpsh(1, "check", "-p", pid, fix)
t.ok(ulpsh(0, "trigger", "-p", pid, fix):find(pid, 1, true), "the process is named")
c:ask("dozen", "13\n", {reject = "12"})
ulpsh(0, "trigger", "-p", pid, fix)
ulpsh(0, "check", "-p", pid, fix)
t.ok(ulpsh(0, "patches", "-p", pid):find("dozens_13", 1, true), "the patch is listed")
ulpsh(0, "messages", "-p", pid)

local json = require "dkjson"
for line in ulpsh(0, "revert", "--json", "-p", pid, fix):gmatch "[^\n]+" do
  local result = t.ok(json.decode(line), "a line of JSON: " .. line)
  t.eq({result.state, result.pid}, {"done", c.pid})
  t.ok(result.schema, "the schema has a version")
end
c:ask("dozen", "12\n", {reject = "13"})

-- A plan changes nothing.
local before = t.snapshot(c.pid)
t.ok(ulpsh(0, "plan", "-p", pid, fix):find("dozen", 1, true), "the plan names the function")
t.unchanged(c.pid, before)

-- Mistakes.
ulpsh(2, "trigger")
ulpsh(2, "nosuchcommand")
t.ok(ulpsh(1, "trigger", "-p", pid, t.path "dozens_13.so"):find("container.no_metadata", 1, true), "the code is told")
ulpsh(4, "trigger", "-p", "nobody-has-this-name", fix)
ulpsh(3, "-e", "error 'mistake'")
t.unharmed(c.pid)
