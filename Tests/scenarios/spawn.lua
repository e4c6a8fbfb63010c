-- The tool of all other scenarios: what it says must be what happened.
local t = require "ulp.scenario"
local spawn = require "ulp.spawn"

do
  local c <close> = spawn "true"
  c:expect_exit(0)
end

-- The first of what is expected and what is rejected decides.
do
  local c <close> = spawn {"printf", "one 12\\ntwo 13\\n"}
  c:expect("12", {reject = "13"})
  t.eq(t.raises("expect.rejected", function() c:expect("nothing", {reject = {"14", "13"}}) end).rejected, "13")
end
do
  local c <close> = spawn {"printf", "120\\n"}
  t.raises("expect.rejected", function() c:expect("12", {reject = "120"}) end)
end

-- What was expected is consumed, the rest stays.
do
  local c <close> = spawn {"cat"}
  c:ask("a=1 b=2", "a=1")
  local key, value = c:expect("(%a)=(%d)", {pattern = true})
  t.eq({key, value}, {"b", "2"})
  local began = t.clock()
  local err = t.raises("expect.timeout", function() c:expect("b=2", {timeout = 0.2}) end)
  t.ok(t.clock() - began >= 0.2, "the time was given")
  t.ok(err.transcript:find("> a=1 b=2\n< a=1 b=2", 1, true), "the transcript is in the error")
  c:send_end()
  t.raises("expect.timeout", function() c:expect "more" end)
  c:expect_exit(0)
  t.ok(not c:alive())
end

-- How it ends.
do
  local c <close> = spawn {"sh", "-c", "exit 3"}
  c:expect_exit(3)
  local d <close> = spawn {"sleep", "60"}
  d:signal "USR1"
  d:expect_exit {signal = "SIGUSR1"}
  t.eq(d:signal "TERM", false, "there is nobody left")
  local e <close> = spawn {"sleep", "60"}
  t.eq(e:wait(0.05), nil, "it goes on")
  t.eq(e:kill(), {signal = 9})
  t.raises("expect.rejected", function() e:expect_exit(0) end)
end
t.raises("spawn.failed", function() return spawn {"/nonexistent/program"} end)
t.raises("usage", function() return spawn {"true"}:signal "NOSUCH" end)

-- Where it lives.
do
  local c <close> = spawn {"sh", "-c", "pwd; echo $ULP_A-$HOME-", cwd = "/proc", env = {ULP_A = "yes", HOME = false}}
  c:expect "/proc\nyes--\n"
  local d <close> = spawn {"sh", "-c", "tty; read line; echo got $line", pty = true}
  d:expect "/dev/pts/"
  d:ask("text", "got text\n")
  local e <close> = spawn {"tty"}
  e:expect "not a tty"
end

-- Nobody is left when a handle is closed, or forgotten.
local pid
do
  local c <close> = spawn {"sleep", "60"}
  pid = c.pid
end
t.eq(t.states(pid), "", "closed")
pid = spawn({"sleep", "60"}).pid
collectgarbage()
collectgarbage()
t.eq(t.states(pid), "", "forgotten")
