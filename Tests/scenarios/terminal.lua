-- timeout: 120
-- A parent that waits for stops and continuations of its child sees none, and neither does a terminal, whatever is done to the
-- child: 32 checks, and patches applied and taken back.
local t = require "ulp.scenario"
local ulp = require "ulp"

local library = t.cc {kind = "library", as = "libterminal", code = "int dozen(void) { return 12; }"}
-- The parent counts what it is told of its child; the child answers questions.
local program = t.cc {kind = "program", as = "terminal", libraries = {library}, code = [[
  #include <signal.h>
  #include <stdio.h>
  #include <stdlib.h>
  #include <sys/wait.h>
  #include <unistd.h>
  int dozen(void);
  static volatile sig_atomic_t signals;
  static void on_child(int number) { signals += number == SIGCHLD; }
  int main(void) {
    char line[80];
    int status, stops = 0, goes = 0;
    setvbuf(stdout, NULL, _IONBF, 0);
    /* No SA_NOCLDSTOP: a stop of the child would be a signal as well. */
    sigaction(SIGCHLD, &(struct sigaction){.sa_handler = on_child, .sa_flags = SA_RESTART}, NULL);
    pid_t child = fork();
    if (child == 0) {
      printf("child=%d.\nready\n", getpid());
      while (fgets(line, sizeof line, stdin)) printf("dozen=%d.\n", dozen());
      _exit(7);
    }
    while (waitpid(child, &status, WUNTRACED | WCONTINUED) == child && !WIFEXITED(status) && !WIFSIGNALED(status)) {
      stops += WIFSTOPPED(status);
      goes += WIFCONTINUED(status);
    }
    printf("stops=%d continuations=%d signals=%d exit=%d.\n", stops, goes, (int)signals, WEXITSTATUS(status));
  }
]]}
local fix = t.cc {as = "fix.so", target = library, units = {dozen = "dozen_2"}, code = "int dozen_2(void) { return 13; }"}

for _, pty in ipairs {false, true} do
  local c <close> = t.spawn {program, preload = true, pty = pty, timeout = 10}
  local child = math.tointeger(tonumber((c:expect("child=(%d+)%.\n", {pattern = true}))))
  c:expect "ready\n"
  local p <close> = assert(ulp.attach(child))
  t.switches(p, fix, {old = 12, new = 13}, function(new, old)
    c:ask("?", ("dozen=%d.\n"):format(new), {reject = {"dozen=" .. old, "stops"}})
    for _ = 1, 4 do t.ok(ulp.check(p, fix).state, "check") end
    -- Steps of which a check is made, with all threads stopped.
    for _ = 1, 4 do t.eq(t.insist(function() return p:stopped(function(threads) return #threads end) end), 1, "threads") end
  end, 4)
  c:send(pty and "\4" or "")
  c:send_end()
  c:expect("stops=0 continuations=0 signals=1 exit=7.\n")
  c:expect_exit(0)
end

-- Such a parent would have seen it.
do
  local c <close> = t.spawn {program, preload = true}
  local child = math.tointeger(tonumber((c:expect("child=(%d+)%.\n", {pattern = true}))))
  c:expect "ready\n"
  local function send(signal) t.spawn({"kill", "-" .. signal, tostring(child)}):expect_exit(0) end
  send "STOP"
  t.wait_until(function() return t.states(child) == "T" end)
  -- The parent has to look before the next one, or it would be told of the last alone.
  t.wait_until(function() return t.states(c.pid) == "S" end)
  t.sleep(0.1)
  send "CONT"
  c:ask("?", "dozen=12.\n")
  t.sleep(0.1)
  c:send_end()
  c:expect("stops=1 continuations=1 signals=3 exit=7.\n")
  c:expect_exit(0)
end
