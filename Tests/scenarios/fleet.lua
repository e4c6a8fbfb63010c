-- timeout: 120
-- One command for many processes: a copy of the tool does half of them. All are done, told in order and told once, also when
-- the copy is killed; when the tool is killed the copy ends with it, and the next command finishes what they left.
local t = require "ulp.scenario"
local ulp = require "ulp"
local core = require "ulp.core"

local count = 72
local name = ("flt%x"):format(math.random(0) & 0xffffff)
local program = t.directory() .. "/" .. name
t.spawn({"/bin/ln", "-s", t.path "numserv", program}):expect_exit(0)
local fleet, pids = {}, {}
for index = 1, count do
  fleet[index] = t.target {program, timeout = 60}
  pids[index] = fleet[index].pid
end
table.sort(pids)
local fix = t.patch "dozens_13"

local function serve(number)
  for _, c in ipairs(fleet) do c:ask("dozen", number .. "\n", {reject = number == 13 and "12\n" or "13\n"}) end
end
--- The copy that a running tool has made; nil if the tool ends before it makes one.
local function copy_of(tool)
  while true do
    local file = io.open(("/proc/%d/task/%d/children"):format(tool.pid, tool.pid))
    if not file then return nil end
    local found = math.tointeger(tonumber(file:read "n"))
    file:close()
    if found then return found end
    core.sleep(0.0005)
  end
end
local function has_ended(pid)
  local file = io.open(("/proc/%d/stat"):format(pid))
  if not file then return true end
  local state = file:read "a":match "%) (%a)"
  file:close()
  return not state or state == "Z" or state == "X"
end
local function kill(pid) os.execute(("kill -9 %d 2>/dev/null"):format(pid)) end
local function wait(tool)
  local parts = {}
  while true do
    parts[#parts + 1] = tool:drain()
    local kind, code = tool.raw:wait(0.005)
    if kind then return table.concat(parts) .. tool:drain(), kind, code end
  end
end
local function command(verb) return wait(t.ulpsh {"--json", verb, fix, "-p", name, timeout = 60}) end

--- Every process once, in ascending order, in one of these states.
local function told(output, states)
  local seen = {}
  for line in output:gmatch "[^\n]+" do
    local result = require "dkjson".decode(line)
    t.ok(result, "a line that is no JSON: " .. line)
    if result.pid then
      seen[#seen + 1] = result.pid
      t.ok(states[result.state], ("process %d is %s"):format(result.pid, result.state))
    end
  end
  t.eq(seen, pids, "the processes that were told of")
end

serve(12)
local output, kind, code = command "trigger"
t.eq({kind, code}, {"code", 0}, "trigger")
told(output, {done = true})
serve(13)
output, kind, code = command "trigger"
t.eq({kind, code}, {"code", 0}, "trigger again")
told(output, {already = true})
output, kind, code = command "revert"
t.eq({kind, code}, {"code", 0}, "revert")
told(output, {done = true})
serve(12)

-- A failure in the other half is the command's failure.
local last = assert(ulp.attach(pids[count]))
last:runtime():set_patchable(false)
output, kind, code = command "trigger"
t.eq({kind, code}, {"code", 1}, "trigger with one that refuses")
t.eq(select(2, output:gsub('"runtime.disabled"', "")), 1, "refusals")
last:runtime():set_patchable(true)
output, kind, code = command "trigger"
t.eq({kind, code}, {"code", 0}, "trigger of the rest")
told(output, {done = true, already = true})
serve(13)
command "revert"
serve(12)

if core.processors() > 1 then
  for round = 0, 4, 2 do
    local tool = t.ulpsh {"--json", "trigger", fix, "-p", name, timeout = 60}
    local copy = t.ok(copy_of(tool), "no copy was made")
    core.sleep(round * 0.004)
    kill(copy)
    output, kind, code = wait(tool)
    t.eq({kind, code}, {"code", 0}, "trigger whose copy was killed")
    told(output, {done = true, already = true})
    for _, pid in ipairs(pids) do t.unharmed(pid) end
    serve(13)
    command "revert"
    serve(12)
  end
  for round = 0, 4, 2 do
    local tool = t.ulpsh {"--json", "trigger", fix, "-p", name, timeout = 60}
    local copy = t.ok(copy_of(tool), "no copy was made")
    core.sleep(round * 0.004)
    kill(tool.pid)
    wait(tool)
    for _ = 1, 500 do
      if has_ended(copy) then break end
      core.sleep(0.01)
    end
    t.ok(has_ended(copy), "the copy of a tool that was killed goes on")
    for _, pid in ipairs(pids) do t.unharmed(pid) end
    output, kind, code = command "trigger"
    t.eq({kind, code}, {"code", 0}, "trigger after the tool was killed")
    told(output, {done = true, already = true})
    serve(13)
    command "revert"
    serve(12)
  end
end
