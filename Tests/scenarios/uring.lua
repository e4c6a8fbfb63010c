-- timeout: 30
-- The kernel's own threads in a process (io_uring) cannot be traced and need not be: they never run the program's code.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.spawn {t.path "uring", preload = true}
if c:expect("(%a+)\n", {pattern = true}) == "none" then t.skip "the kernel offers no io_uring" end
local p <close> = assert(ulp.attach(c.pid))
local fix = t.patch "dozens_13"
for _ = 1, 10 do
  t.state(ulp.trigger(p, fix), "done")
  c:ask("tell", "dozen=13 interrupted=0.", {reject = "dozen=12"})
  t.state(ulp.revert(p, fix), "done")
  c:ask("tell", "dozen=12 interrupted=0.", {reject = "dozen=13"})
end
