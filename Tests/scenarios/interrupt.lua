-- Ctrl-C at the prompt stops what runs there, and leaves no thread stopped.
local t = require "ulp.scenario"

local c <close> = t.target "numserv"
local shell <close> = t.ulpsh {pty = true, timeout = 10, env = {TERM = "dumb", HOME = t.directory()}}
shell:send(("p = assert(ulp.attach(%d))\nprint('attached to', p.comm)\n"):format(c.pid))
shell:expect "attached to\tnumserv"

-- Again while a busy machine lets it have no turn to stop in.
shell:send "function hold() p:stopped(function(threads) print('holding', #threads) while true do end end) end\n"
shell:send "repeat held, why = pcall(hold) until why.code ~= 'process.unstoppable' error(why, 0)\n"
shell:expect "holding\t1"
t.ok(t.states(c.pid):find "t", "the world is stopped")
shell:send "\3"
shell:expect "interrupted"
t.unharmed(c.pid)
c:ask("dozen", "12\n")

-- While a change waits for its time.
local lingerer <close> = t.target "lingerer"
local fix = t.patch "linger_2"
lingerer:ask("enter", "entering\n")
t.asleep(lingerer.pid)
shell:send(("print('trying') ulp.trigger(%d, %q, {timeout = 60})\n"):format(lingerer.pid, fix))
shell:expect "trying"
t.sleep(0.5)
shell:send "\3"
shell:expect "interrupted"
t.unharmed(lingerer.pid)
lingerer:ask("leave", "left=1\n", {reject = "left=2"})
shell:send(("print('then', ulp.trigger(%d, %q).state)\n"):format(lingerer.pid, fix))
shell:expect "then\tdone"
lingerer:ask("enter", "entering\n")
t.asleep(lingerer.pid)
lingerer:ask("leave", "left=2\n", {reject = "left=1"})
t.unharmed(lingerer.pid)

-- A list of processes ends with it, and does not go on to the next.
lingerer:ask("enter", "entering\n")
t.asleep(lingerer.pid)
shell:send(("print('listing') ulp.revert({%d, %d}, %q, {timeout = 60})\n"):format(lingerer.pid, lingerer.pid, fix))
shell:expect "listing"
t.sleep(0.5)
shell:send "\3"
shell:expect "interrupted"
lingerer:ask("leave", "left=2\n", {reject = "left=1"})
t.unharmed(lingerer.pid)
shell:send "os.exit()\n"
shell:expect_exit(0)
