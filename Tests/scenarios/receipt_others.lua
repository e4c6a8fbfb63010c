-- timeout: 60
-- A check's receipt proves that nothing was stopped, called or written; what others change during a check or a change is told
-- apart from what ulpsh or a patch's code does, and reading alone is never blamed.
local t = require "ulp.scenario"
local ulp = require "ulp"
local json = require "dkjson"

local place = t.directory()
local c <close> = t.target {"numserv", cwd = place, timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local fix = t.patch "dozens_13"
local function limit(size) return ("prlimit --pid %d --core=%d:%d"):format(c.pid, size, 1 << 20) end

-- Nothing applied, applied, superseded.
for _, applied in ipairs {false, true} do
  local result = ulp.check(p, fix, {receipt = true})
  t.eq(result.applied, applied)
  local receipt = result.receipt
  t.eq({receipt.touches, receipt.stops, receipt.calls, receipt.world_stops}, {0, 0, 0, 0}, "what was done")
  t.eq({receipt.differences, receipt.others}, {{}, {}}, "what differs")
  local text <close> = t.ulpsh {"check", "--receipt", "-p", tostring(c.pid), fix}
  text:expect "receipt: 0 stops, calls and writes, no difference"
  text:expect_exit(applied and 0 or 1)
  local lines <close> = t.ulpsh {"check", "--receipt", "--json", "-p", tostring(c.pid), fix}
  lines:expect_exit(applied and 0 or 1)
  t.eq(json.decode(lines:drain()).receipt.touches, 0, "JSON")
  if not applied then t.state(ulp.trigger(p, fix), "done") end
end
t.state(ulp.revert(p, fix), "done")
t.raises("usage", function() return ulp.check(p, fix, {timeout = 1}) end)
local plain <close> = t.ulpsh {"check", "--json", "-p", tostring(c.pid), fix}
plain:expect_exit(1)
t.eq(json.decode(plain:drain()).receipt, nil, "none unless it is wanted")

-- Somebody else, while we read.
assert(os.execute(limit(4096)))
do
  local observation = p:observe()
  assert(os.execute(limit(8192)))
  ulp.check(p, fix)
  local receipt = observation:finish()
  t.eq({receipt.touches, receipt.differences, #receipt.others}, {0, {}, 1})
  local other = receipt.others[1]
  t.eq({other.what, other.cause}, {"limits", "others"})
  t.ok(other.before:find "4096" and other.after:find "8192", "before and after")
end
-- The same when we had our hands in the process: then nobody can tell, and it counts as ours.
do
  local tool <close> = t.ulpsh {"-e", ([[
    ulp.core.set_receipts(true)
    local p = ulp.attach(%d)
    local observation, place = p:observe(), p:symbol "dozen"
    p:write_text(place, p:read(place, 1))
    os.execute %q
    local receipt = observation:finish()
    print(receipt.touches > 0, #receipt.others, receipt.differences[1].what, receipt.differences[1].cause)]])
    :format(c.pid, limit(16384))}
  tool:expect "true\t0\tlimits\tulpsh\n"
  tool:expect_exit(0)
end

-- Somebody else, while a constructor runs that only looks.
local waits = t.cc {as = "waits.so", target = t.path "libdozens.so.0", units = {dozen = "dozen_13"}, code = [[
  #include <sys/resource.h>
  #include <sys/stat.h>
  #include <unistd.h>
  int dozen_13(void) { return 13; }
  __attribute__((constructor)) static void wait_for_it(void) {
    struct rlimit before, now;
    getrlimit(RLIMIT_CORE, &before);
    mkdir("started", 0700);
    do usleep(5000), getrlimit(RLIMIT_CORE, &now); while (now.rlim_cur == before.rlim_cur);
  }]]}
do
  local helper <close> = t.spawn {"sh", "-c", ("until [ -d %s/started ]; do sleep 0.02; done; %s"):format(place, limit(32768))}
  local result = t.state(ulp.trigger(p, waits, {receipt = true, timeout = 20}), "done")
  helper:expect_exit(0)
  t.eq(result.receipt.differences, {}, "of the constructor or us")
  t.eq({result.receipt.others[1].what, result.receipt.others[1].cause, #result.receipt.others}, {"limits", "others", 1})
  t.ok(result.receipt.others[1].after:find "32768")
  local lines = {}
  require "ulp.render.human".receipt_lines(result.receipt, lines)
  t.ok(table.concat(lines, "\n"):find "by the program itself or somebody else", table.concat(lines, "\n"))
end
c:ask("dozen", "13\n", {reject = "12"})
t.unharmed(c.pid)
