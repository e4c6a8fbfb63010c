-- timeout: 60
-- Two tools at one process: each operation is done, or refused because the other one is at work; none is half done.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target "numserv"
local work = [[
  local ulp, done, busy = require "ulp", 0, 0
  local p = assert(ulp.attach(%d))
  for _ = 1, 40 do
    for _, verb in ipairs {"trigger", "revert"} do
      repeat
        local fine, result = pcall(ulp[verb], p, %q)
        local code = type(result) == "table" and result.code
        if not fine and code ~= "operation.busy" then error(result) end
        if fine and result.state ~= "done" and code ~= "operation.busy" then error(result.state .. tostring(code)) end
        if code == "operation.busy" then busy = busy + 1 else done = done + 1 end
      until code ~= "operation.busy"
    end
  end
  print("done=" .. done, "busy=" .. busy)
]]
local tools = {}
for index, patch in ipairs {"dozens_13", "hundreds_200"} do
  tools[index] = t.ulpsh {"-e", work:format(c.pid, t.patch(patch)), timeout = 50}
end
for _, tool in ipairs(tools) do
  tool:expect "done=80\t"
  tool:expect_exit(0)
end
c:ask("dozen", "12\n", {reject = "13"})
c:ask("hundred", "100\n", {reject = "200"})
t.eq(#ulp.patches(assert(ulp.attach(c.pid))), 0, "nothing is left applied")
t.unharmed(c.pid)
