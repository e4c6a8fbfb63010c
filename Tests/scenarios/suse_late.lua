-- timeout: 60
-- With SUSE's runtime: a constructor that does not return, and out of which nobody can be forced, keeps its thread. Whoever
-- comes next is told, and SUSE's own tool is kept off; once it has returned, what the call has left is discarded.
local t = require "ulp.scenario"
local ulp = require "ulp"

local pipe = t.directory() .. "/pipe"
assert(os.execute(("mkfifo %q"):format(pipe)))
local late = t.cc {as = "late.so", target = t.path "libdozens.so.0", units = {dozen = "dozen_2"}, code = ([[
  #include <stdio.h>
  /* fopen holds locks of its own while it waits. */
  __attribute__((constructor)) static void begin(void) { FILE *f = fopen("%s", "r"); if (f) fclose(f); }
  int dozen_2(void) { return 14; }
]]):format(pipe)}
local good = t.patch "dozens_13"
local c <close> = t.target {"numserv", preload = t.path "suse/libpulp.so", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local runtime = assert(p:runtime())
local function serves(number) c:ask("dozen", number .. "\n", {reject = {tostring(25 - number), "14"}}) end

serves(12)
t.refused("call.timeout", function() return ulp.trigger(p, late, {timeout = 2}) end)
t.unharmed(c.pid)
t.eq({runtime:state(), runtime:error_state()}, {"queued", 62}, "whoever comes next must know")
t.refused("carrier.none", function() return ulp.trigger(p, good, {timeout = 0.3}) end)
t.refused("carrier.none", function() return runtime:recover() end)
t.ok(t.ulpsh {"patches", "-p", tostring(c.pid)}:expect "ulpsh recover", "`patches` tells")
t.unharmed(c.pid)

assert(io.open(pipe, "w")):close() -- an end to write to is enough, and nobody may be left to read
serves(12)
t.wait_until(function() return #runtime:queue() > 0 end)
t.eq({runtime:state(), runtime:error_state()}, {"queued", 62}, "it came back, and its writes wait")
t.eq(ulp.check(p, late).code, "operation.pending")
serves(12)

local tool <close> = t.ulpsh {"recover", tostring(c.pid), timeout = 20}
tool:expect "discarded"
tool:expect_exit(0)
t.eq({runtime:state(), runtime:error_state(), #runtime:patches()}, {"idle", 0, 0})
serves(12)
t.state(ulp.trigger(p, good), "done", "as if nothing had been")
serves(13)
t.state(ulp.revert(p, good), "done")
serves(12)
