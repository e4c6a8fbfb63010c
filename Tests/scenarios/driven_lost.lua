-- timeout: 90
-- The program loads a patched library anew and the patch is lost: SUSE's tool finds it not applied, may apply it again, and what
-- it applies over it, leaves in the middle or takes back brings nothing of the lost one into force.
local t = require "ulp.scenario"
local ulp = require "ulp"
local suse = t.shared "suse"

local one, two = t.patch "version_1", t.patch "version_2"

local function start()
  local c = t.target {"loader", t.path "libversion.so.0", "version", timeout = 20}
  local function shows(version)
    local others = {}
    for other = 0, 3 do if other ~= version then others[#others + 1] = "version=" .. other end end
    c:ask("call", ("version=%d\n"):format(version), {reject = others})
    t.unharmed(c.pid)
  end
  c:ask("open", "open\n")
  return c, shows
end

--- Applies with SUSE's tool, and has the program unload the library and load it again.
local function lose(c, shows, place)
  suse.trigger(c, one)
  shows(1)
  c:ask("close", "close=0\n")
  if place == "other" then c:ask("occupy", "occupy=0\n") end
  c:ask("open", "open\n")
  shows(0)
end

for _, place in ipairs {"same", "other"} do
  local c <close>, shows = start()
  lose(c, shows, place)
  suse.expect("ENOTAPPLIED", "--revert", "trigger", c.pid, one)
  t.eq(suse.list(c), "", "off the list")
  t.ok(not suse.applied(c, one))
  suse.trigger(c, one)
  shows(1)
  suse.trigger(c, two)
  shows(2)
  suse.revert(c, two)
  shows(1)
  suse.revert(c, one)
  shows(0)
end

-- Over the lost one, and back.
do
  local c <close>, shows = start()
  lose(c, shows, "same")
  suse.trigger(c, two)
  shows(2)
  t.eq(suse.list(c), "libversion.so.0:version_2.so")
  suse.revert(c, two)
  shows(0)
  suse.expect("ENOPATCH", "revert-all", c.pid, "libversion.so.0")
  t.state(ulp.trigger(c.pid, one), "done", "ulpsh goes on")
  shows(1)
  t.state(ulp.revert(c.pid, one), "done")
  shows(0)
end

-- A tool that dies in the middle leaves what was there: the original.
local number = 0
while true do
  local c <close>, shows = start()
  lose(c, shows, "same")
  local found = suse.run("-r", "1", "--abandon-at", tostring(number), "trigger", c.pid, two)
  t.ok(found.name == "EINSNQ" or found.name == "ENONE", found.text)
  if found.name == "ENONE" then break end
  local is_committed = ulp.attach(c.pid):runtime():universe() == 3
  shows(is_committed and 2 or 0)
  suse.expect(is_committed and "EAPPLIED" or "ENONE", "trigger", c.pid, two)
  shows(2)
  suse.revert(c, two)
  shows(0)
  number = number + 1
end
t.ok(number > 4, "a queue has several instructions")
