-- timeout: 60
-- Processes with another root directory or other mounts: the patch is found where they see it, or it is refused with the path.
local t = require "ulp.scenario"
local ulp = require "ulp"

local function serves(c, dozen)
  c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"})
  t.unharmed(c.pid)
end

local function patched(c, fix, options, path)
  local p <close> = assert(ulp.attach(c.pid))
  serves(c, 12)
  t.eq(assert(ulp.plan(p, fix, nil, options)).applies[1].target_path, path, "the path that it opens")
  t.state(ulp.trigger(p, fix, options), "done", "apply")
  serves(c, 13)
  t.eq(ulp.patches(p)[1].path, path, "the path that it opened")
  t.ok(ulp.check(p, fix).applied, "check")
  t.state(ulp.revert(p, fix, options), "done", "revert")
  serves(c, 12)
end

local fix = t.patch "dozens_13"
local directory, name = fix:match "^(.*)(/[^/]*)$"

-- Below a directory that contains the patch, and below one that does not.
do
  local c <close> = t.target {"confined", directory}
  patched(c, fix, nil, name)
end
do
  local c <close> = t.target {"confined", "/var"}
  local p <close> = assert(ulp.attach(c.pid))
  local refusal = t.refused("container.invisible", function() return ulp.trigger(p, fix) end)
  t.ok(refusal.message:find(fix, 1, true), refusal.message)
  serves(c, 12)
end

-- A prefix is taken at its word, and the process's own loader says what is wrong with it.
do
  local c <close> = t.target {"numserv"}
  local p <close> = assert(ulp.attach(c.pid))
  t.ok(tostring(assert(ulp.plan(p, fix, nil, {root = "/nowhere"}))):find("/nowhere" .. fix, 1, true), "the plan")
  local refusal = t.refused("stage.failed", function() return ulp.trigger(p, fix, {root = "/nowhere"}) end)
  t.ok(refusal.message:find("/nowhere" .. fix, 1, true), refusal.message)
  t.ok(ulp.messages(p):find("Unable to load shared object /nowhere" .. fix, 1, true), "its messages")
  serves(c, 12)
  local tool <close> = t.ulpsh {"trigger", "-R", "/nowhere", "-p", tostring(c.pid), fix}
  tool:expect("/nowhere" .. fix)
  tool:expect_exit(1)
  t.raises("usage", function() return ulp.trigger(p, fix, {root = 1}) end)
  -- There, but another file.
  local other = t.directory() .. "/other" .. fix
  t.spawn({"/bin/mkdir", "-p", (other:gsub("[^/]*$", ""))}):expect_exit(0)
  t.write_file(other, t.read_file(fix))
  t.refused("container.invisible", function() return ulp.trigger(p, fix, {root = t.directory() .. "/other"}) end)
  t.state(ulp.trigger(p, fix, {root = "/proc/self/root"}), "done", "another name of the same file")
  serves(c, 13)
end
