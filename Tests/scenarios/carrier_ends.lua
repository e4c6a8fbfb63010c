-- timeout: 90
-- The program ends, is killed, or becomes another while one of its threads loads a patch; or that thread is cancelled: what the
-- program wanted happens, with its own exit status, and the answer says so.
local t = require "ulp.scenario"
local ulp = require "ulp"

local program = t.cc {
  kind = "program", as = "ender", libraries = {t.path "libdozens.so.0"}, flags = {"-pthread"}, link = {"-pthread", "-rdynamic"},
  code = [[
  #include <pthread.h>
  #include <stdio.h>
  #include <stdlib.h>
  #include <string.h>
  #include <sys/syscall.h>
  #include <unistd.h>
  int dozen(void);
  volatile int worker;
  static void *work(void *unused) {
    worker = (int)syscall(SYS_gettid);
    for (;;) sleep(1000);
    return unused;
  }
  int main(int argc, char **argv) {
    char word[64];
    pthread_t thread;
    void *result;
    setvbuf(stdout, NULL, _IONBF, 0);
    if (argc > 1) return 9; /* executed anew */
    pthread_create(&thread, NULL, work, NULL);
    while (!worker) usleep(1000);
    puts("ready");
    while (scanf("%63s", word) == 1) {
      if (!strcmp(word, "exit")) exit(7);
      if (!strcmp(word, "exec")) execl("/proc/self/exe", "anew", "anew", NULL);
      if (!strcmp(word, "abort")) abort();
      if (!strcmp(word, "cancel")) {
        pthread_cancel(thread);
        pthread_join(thread, &result);
        puts(result == PTHREAD_CANCELED ? "cancelled" : "returned");
      }
      if (!strcmp(word, "dozen")) printf("dozen=%d\n", dozen());
    }
    return 0;
  }]]}
local fix = t.patch "dozens_pause" -- takes 0.4 s to load

--- Starts it, and has another ulpsh load the patch on the worker; returns when that is on its way.
local function start()
  local c = t.target {program, timeout = 20}
  local p = assert(ulp.attach(c.pid))
  local worker = p:unpack(p:symbol "worker", "<i4")
  local tool = t.ulpsh {"-e", ([[
    local p = ulp.attach(%d)
    local runtime = p:runtime()
    local done, result = pcall(function()
      local staged <close> = runtime:stage(assert(ulp.plan(p, %q)), {thread = %d, timeout = 20})
      p:switch(staged)
      runtime:settle(staged)
    end)
    print("answer " .. (done and "done" or result.code))]]):format(c.pid, fix, worker), timeout = 30}
  local function is_loading()
    for line in io.lines(("/proc/%d/maps"):format(c.pid)) do if line:find(fix, 1, true) then return true end end
  end
  t.wait_until(is_loading)
  return c, p, tool
end

for how, exit in pairs {exit = {code = 7}, exec = {code = 9}, abort = {signal = 6}, KILL = {signal = 9}, TERM = {signal = 15}} do
  local started, process, loader = start()
  local c <close>, p = started, process
  local tool <close> = loader
  if how:match "%u" then c:signal(how) else c:send(how .. "\n") end
  local ended = t.ok(c:wait(10), how .. ": it ends")
  t.eq({ended.code, ended.signal}, {exit.code, exit.signal}, how .. ": as it wanted")
  tool:expect("answer process%.%a+\n", {pattern = true})
  tool:expect_exit(0)
  t.ok(not p.alive, "it is gone")
end

-- The cancellation waits until the thread is back where it came from.
do
  local started, process, loader = start()
  local c <close>, p = started, process
  local tool <close> = loader
  c:ask("cancel", "cancelled\n", {reject = "returned"})
  tool:expect "answer done\n"
  tool:expect_exit(0)
  c:ask("dozen", "dozen=13\n", {reject = "dozen=12"})
  t.state(ulp.revert(p, fix), "done")
  c:ask("dozen", "dozen=12\n", {reject = "dozen=13"})
  t.unharmed(c.pid)
end
