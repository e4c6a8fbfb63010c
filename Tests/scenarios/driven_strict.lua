-- timeout: 60
-- A thread that strict seccomp has left read, write and nothing else is asked and told by SUSE's tool like any other; asked to
-- load something it answers "not now" before it makes a system call, and lives.
local t = require "ulp.scenario"
local suse = t.shared "suse"

local fix = t.patch "dozens_13"

do
  local c <close> = t.target {"hard", "seccomp-strict"}
  local function seccomp() return (t.read_file(("/proc/%d/status"):format(c.pid)):match "\nSeccomp:%s*(%d)") end
  local deadline = t.clock() + 5
  while seccomp() ~= "1" and t.clock() < deadline do t.sleep(0.01) end
  t.eq(seccomp(), "1", "strict mode")
  for _ = 1, 3 do
    t.eq(suse.applied(c, fix), false, "asked")
    t.eq(suse.run("disable", c.pid).text:match "state=(%d+)", "280", "switched off")
    t.eq(suse.run("enable", c.pid).text:match "state=(%d+)", "0", "switched on")
    for _, words in ipairs {{"trigger", c.pid, fix}, {"revert-all", c.pid, "libdozens.so.0"}} do
      local found = suse.run("-r", "3", table.unpack(words))
      t.eq({found.name, found.rax}, {"EAGAIN", 11}, found.text)
      t.ok(not found.text:find "instructions=[1-9]", "nothing is queued")
    end
    t.unharmed(c.pid)
  end
  t.eq(suse.list(c), "")
  t.unharmed(c.pid)
end

-- Under a filter that forbids what is writable and executable the rest goes on; a container that needs such memory is
-- refused by the filter, as SUSE's tool without --disable-seccomp would have it.
do
  local c <close> = t.target {"confined", "-", "errno"}
  local function serves(dozen) c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"}) end
  serves(12)
  for _ = 1, 3 do
    suse.trigger(c, fix)
    serves(13)
    suse.revert(c, fix)
    serves(12)
  end
  c:ask("map", "map=refused\n", {reject = "allowed"})
  t.unharmed(c.pid)
end
