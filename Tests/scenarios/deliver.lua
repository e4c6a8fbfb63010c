-- timeout: 90
-- A patch delivered in a sealed memory file is applied, checked, reverted and applied again like one that is opened by its
-- path, and leaves no descriptor.
local t = require "ulp.scenario"
local ulp = require "ulp"
local core = require "ulp.core"

local fix = t.patch "dozens_13"
local memfd = {deliver = "memfd", receipt = true}

local function descriptors(pid) return core.list_directory(("/proc/%d/fd"):format(pid)) end

-- Lines of the mappings that show a memory file.
local function memory_files(pid)
  local found = {}
  for line in io.lines(("/proc/%d/maps"):format(pid)) do found[#found + 1] = line:match "/memfd:ulpsh%S*" end
  return found
end

local c <close> = t.target "numserv"
local p <close> = assert(ulp.attach(c.pid))
local function serves(dozen)
  c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"})
  t.unharmed(c.pid)
end

-- The plan says it, and nothing happens.
local before = t.snapshot(c.pid)
local plan = assert(ulp.plan(p, fix, nil, memfd))
t.eq(plan.applies[1].deliver, "memfd")
t.ok(tostring(plan):find "sealed memory file", tostring(plan))
t.eq(assert(ulp.plan(p, fix)).applies[1].deliver, "path")
t.unchanged(c.pid, before)
t.raises("usage", function() return ulp.trigger(p, fix, {deliver = "mail"}) end)
t.raises("usage", function() return ulp.trigger(p, fix, {deliver = "memfd", root = "/x"}) end)

local at_rest = descriptors(c.pid)
for round = 1, 3 do
  local applied = t.state(ulp.trigger(p, fix, memfd), "done", "apply " .. round)
  t.eq(applied.receipt.differences, {}, "the receipt of an apply")
  serves(13)
  t.eq(descriptors(c.pid), at_rest, "descriptors while it is applied")
  t.eq(#memory_files(c.pid) > 0 and memory_files(c.pid)[1], "/memfd:ulpsh-dozens_13.so", "what the mappings show")
  t.ok(ulp.check(p, fix).applied, "check")
  local patch = ulp.patches(p)[1]
  t.eq({patch.path, patch.deliver}, {fix, "memfd"}, "the list names the file it came from")
  local reverted = t.state(ulp.revert(p, fix, {receipt = true}), "done", "revert " .. round)
  t.eq(reverted.receipt.differences, {}, "the receipt of a revert")
  serves(12)
  t.eq(memory_files(c.pid), {}, "unloaded")
  t.eq(descriptors(c.pid), at_rest, "descriptors after the revert")
end

-- What is in the process is what is in the file, and not the file's mapping.
t.state(ulp.trigger(p, fix, memfd), "done")
for line in io.lines(("/proc/%d/maps"):format(c.pid)) do
  t.ok(not line:find(fix, 1, true), "the file itself is not mapped")
end
t.eq(ulp.trigger(p, fix).state, "already", "by whatever way")

-- Kept ones do not get into the way of new ones, though descriptors of the same number are used again.
t.state(ulp.revert(p, fix, {unload = false}), "done")
serves(12)
for round = 1, 5 do
  local copy = t.patch("dozens_13", {as = "copy_" .. round})
  t.state(ulp.trigger(p, copy, memfd), "done", "another one")
  serves(13)
  t.state(ulp.revert(p, copy, {unload = false}), "done")
  serves(12)
end
t.eq(descriptors(c.pid), at_rest)

-- Several in one step, and a replacement.
local slow = t.patch("dozens_13", {as = "second"})
t.state(ulp.trigger(p, fix, memfd), "done")
local library = ulp.patches(p)[1].target
t.state(ulp.replace(p, library, {slow}, memfd), "done", "replace")
serves(13)
t.eq(#ulp.patches(p), 1)
t.eq(ulp.patches(p)[1].path, slow)
t.state(ulp.revert(p, slow), "done")
serves(12)

-- By the command line.
local tool <close> = t.ulpsh {"trigger", "--deliver", "memfd", "-p", tostring(c.pid), fix}
tool:expect_exit(0)
serves(13)
t.eq(ulp.patches(p)[1].deliver, "memfd")
local shown <close> = t.ulpsh {"plan", "--deliver", "memfd", "-p", tostring(c.pid), slow}
shown:expect "sealed memory file"
shown:expect_exit(0)
t.eq(descriptors(c.pid), at_rest)
