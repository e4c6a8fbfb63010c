-- timeout: 180
-- The instruction queue is left before every single one of its instructions: old everywhere until the universe is written,
-- new from then on. Whoever comes next, ulpsh or SUSE's tool, finds out which, and goes on from there.
local t = require "ulp.scenario"
local ulp = require "ulp"
local suse = t.shared "suse"

local first, second = t.patch "version_1", t.patch "version_2"

local function shows(c, version)
  local others = {}
  for other = 0, 2 do if other ~= version then others[#others + 1] = "version=" .. other end end
  c:ask("version", ("version=%d\n"):format(version), {reject = others})
  t.unharmed(c.pid)
end

--- Runs the tool again while the target is busy; true if it left its queue.
local function abandoned(number, ...)
  local deadline = t.clock() + 20
  repeat
    local found = suse.run("--abandon-at", tostring(number), ...)
    if found.name ~= "EAGAIN" then
      t.ok(found.name == "EINSNQ" or found.name == "ENONE", found.text)
      return found.name == "EINSNQ"
    end
  until t.clock() > deadline
  error "always busy"
end

--- Leaves each queue of an operation at each place. `prepare` brings a target to where the operation begins, at universe
--- `universe`, showing `old`; afterwards it shows `new`. `finish` is what comes next; it returns what is shown then.
local function sweep(old, new, universe, prepare, command, finish)
  local commits, number = 0, 0
  repeat
    local c <close> = t.target {"caller", t.path "libversion.so.0"}
    prepare(c)
    shows(c, old)
    local was_left = abandoned(number, table.unpack(command(c)))
    local p <close> = assert(ulp.attach(c.pid))
    local committed = p:runtime():universe() == universe + 1
    t.eq(committed, p:runtime():universe() ~= universe, "the universe")
    shows(c, committed and new or old)
    if committed then commits = commits + 1 end
    local runtime = p:runtime()
    shows(c, finish(c, p, runtime, committed))
    number = number + 1
  until not was_left
  t.ok(number > 4, "a queue has several instructions")
  t.eq(commits, 2, "only the last instruction brings it into force")
end

-- What is left in the queue is not carried out by a later call for another answer: neither by a tool that is refused, nor by
-- one whose call a signal ends before the entry has run, after ulpsh has undone the operation and changed the functions itself.
for number = 0, 2 do
  local c <close> = t.target {"caller", t.path "libversion.so.0"}
  local p <close> = assert(ulp.attach(c.pid))
  local queue = assert(p:symbol "__ulp_insn_queue")
  t.ok(abandoned(number, "trigger", c.pid, first), "a queue is left")
  t.ok((p:unpack(queue + 4, "<I4")) > number)
  suse.run("disable", c.pid)
  for _, words in ipairs {{"trigger", c.pid, first}, {"revert-all", c.pid, "libversion.so.0"}} do
    local found = suse.patiently(table.unpack(words))
    t.eq(found.name, "EUSRBLOCKED")
    t.ok(found.text:find "instructions=0 size=0", found.text)
  end
  shows(c, 0)
  suse.run("enable", c.pid)
  t.ok(abandoned(number, "trigger", c.pid, first), "a queue is left")
  p:runtime():recover()
  t.eq({p:unpack(queue + 4, "<I4I4")}, {0, 0}, "ulpsh has emptied it")
  t.state(ulp.trigger(p, second), "done")
  shows(c, 2)
  t.state(ulp.revert(p, second), "done")
  shows(c, 0)
end

local function nothing() end
local function apply(c) return {"trigger", c.pid, first} end

-- ulpsh recovers
sweep(0, 1, 1, nothing, apply, function(c, p, runtime, committed)
  runtime:recover()
  t.eq(runtime:state(), "idle")
  t.eq(suse.list(c), committed and "libversion.so.0:version_1.so" or "", "the list")
  t.eq(suse.applied(c, first), committed)
  t.state(ulp.trigger(p, second), "done")
  return 2
end)

-- SUSE's tool goes on by itself: the unacknowledged queue is no error
sweep(0, 1, 1, nothing, apply, function(c, p, _, committed)
  suse.expect(committed and "EAPPLIED" or "ENONE", "trigger", c.pid, first)
  shows(c, 1)
  suse.trigger(c, second)
  shows(c, 2)
  t.eq(suse.list(c), "libversion.so.0:version_2.so libversion.so.0:version_1.so", "the list")
  suse.revert(c, second)
  t.state(ulp.check(p, first), "done")
  return 1
end)

-- A second patch on top, and the revert of the first below it
sweep(1, 2, 2, function(c) suse.trigger(c, first) end, function(c) return {"trigger", c.pid, second} end,
  function(c, p, _, committed)
    t.state(ulp.revert(p, first), "done")
    if not committed then return 0 end
    suse.expect("ENONE", "revert-all", c.pid, "libversion.so.0")
    return 0
  end)

-- A revert that is left in the middle
sweep(1, 0, 2, function(c) suse.trigger(c, first) end, function(c) return {"--revert", "trigger", c.pid, first} end,
  function(c, p, runtime, committed)
    runtime:recover()
    t.eq(suse.list(c), committed and "" or "libversion.so.0:version_1.so", "the list")
    t.state(ulp.check(p, first), committed and "skipped" or "done")
    if not committed then suse.revert(c, first) end
    return 0
  end)
