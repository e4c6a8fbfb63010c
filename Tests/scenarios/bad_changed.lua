-- timeout: 60
-- A patch's file that is written to, truncated, renamed or exchanged between the plan and the staging is not loaded, and the
-- program does not notice.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target "numserv"
local p <close> = assert(ulp.attach(c.pid))
local other = t.read_file(t.patch("dozens_13", {as = "other", units = {"dozen:dozens_13", "! another"}}))
local slow = t.read_file(t.patch "dozens_slow")

--- Opens for reading and writing: the file stays the same one.
local function in_place(path, change)
  local file = assert(io.open(path, "r+b"))
  change(file)
  assert(file:close())
end

local changes = {
  truncated = function(path) t.write_file(path, t.read_file(path):sub(1, 700)) end,
  emptied = function(path) t.write_file(path, "") end,
  overwritten = function(path) t.write_file(path, other) end,
  ["overwritten by a longer one"] = function(path) t.write_file(path, slow .. ("\0"):rep(100000)) end,
  ["written to in one place"] = function(path)
    local at = assert(t.read_file(path):find("dozens_13", 1, true))
    in_place(path, function(file)
      file:seek("set", at)
      file:write "X"
    end)
  end,
  ["no ELF file any more"] = function(path) t.write_file(path, ("no ELF file "):rep(2000)) end,
  removed = function(path) assert(os.remove(path)) end,
  ["renamed away"] = function(path) assert(os.rename(path, path .. ".away")) end,
  ["exchanged for another patch"] = function(path) assert(os.rename(t.write_file(path .. ".new", other), path)) end,
  ["exchanged for the same bytes"] = function(path)
    assert(os.rename(t.write_file(path .. ".new", t.read_file(path)), path))
  end,
  ["a directory"] = function(path)
    assert(os.remove(path))
    local child <close> = t.spawn {"mkdir", path}
    child:expect_exit(0)
  end,
}

for _, deliver in ipairs {"path", "memfd"} do for what, change in pairs(changes) do
  local name = deliver .. "_" .. what:gsub("%W", "_")
  local path = t.patch("dozens_13", {as = name})
  local runtime = assert(p:runtime())
  local plan = assert(ulp.plan(p, path, nil, {deliver = deliver}))
  change(path)
  local before = t.snapshot(c.pid)
  local said = t.refused("container.changed", function() return runtime:stage(plan) end)
  t.ok(said.message:find(name, 1, true), ("%s: %s"):format(what, said.message))
  t.unchanged(c.pid, before)
  t.eq(runtime:state(), "idle", what)
  c:ask("dozen", "12\n", {reject = "13"})
end end

-- A handle that was opened before the file changed is not believed either.
local path = t.patch("dozens_13", {as = "opened"})
local container = assert(ulp.container(path))
t.write_file(path, slow)
t.refused("container.changed", function() return ulp.trigger(p, container) end)
t.refused("container.changed", function() return ulp.trigger(p, container, {deliver = "memfd"}) end)
c:ask("dozen", "12\n", {reject = "13"})
t.state(ulp.trigger(p, t.patch "dozens_13"), "done", "what nobody changes")
c:ask("dozen", "13\n", {reject = "12"})
