-- timeout: 40
-- A constructor that jumps into the program's own frames has left the loader for good: that is told at once, the thread goes
-- on where it was sent with its own signal mask, and live patching is switched off in the process.
local t = require "ulp.scenario"
local ulp = require "ulp"

local program = t.cc {kind = "program", as = "jumper", libraries = {t.path "libdozens.so.0"}, link = {"-rdynamic"}, code = [[
  #include <setjmp.h>
  #include <stdio.h>
  #include <string.h>
  #include <unistd.h>
  jmp_buf place;
  int dozen(void);
  volatile long turns;
  int main(int argc, char **argv) {
    char word[64];
    int spins = argc > 1;
    setvbuf(stdout, NULL, _IONBF, 0);
    if (setjmp(place)) {
      while (spins) turns++;
      puts("jumped");
    }
    puts("ready");
    while (scanf("%63s", word) == 1) printf("%s=%d\n", word, dozen());
    return 0;
  }]]}
local jumps = t.cc {as = "jumps.so", target = t.path "libdozens.so.0", units = {dozen = "dozen_13"}, undefined = "allow",
  code = [[
  #include <setjmp.h>
  extern jmp_buf place;
  int dozen_13(void) { return 13; }
  __attribute__((constructor)) static void leave(void) { longjmp(place, 1); }
  ]]}
local light = t.patch "dozens_13"

local function mask(pid) return t.read_file(("/proc/%d/status"):format(pid)):match "SigBlk:%s*(%x+)" end

for _, spins in ipairs {false, true} do
  local c <close> = t.target {program, spins and "spins" or nil, timeout = 10}
  local p <close> = assert(ulp.attach(c.pid))
  local before = mask(c.pid)
  local began = t.clock()
  local err = t.raises("call.escaped", function() return ulp.trigger(p, jumps, {timeout = spins and 0.5 or 90}) end)
  t.ok(t.clock() - began < 30, "told as soon as it is seen")
  t.eq(err.cause, "longjmp")
  t.ok(err.message:find "switched off", err.message)
  t.unharmed(c.pid)
  t.eq(mask(c.pid), before, "its signal mask")
  if spins then
    local place = p:symbol "turns"
    local seen = p:unpack(place, "<i8")
    t.sleep(0.05)
    t.ok(p:unpack(place, "<i8") > seen, "it goes on where it was sent")
  else
    c:expect "jumped\n"
    c:ask("one", "one=12\n", {reject = "13"})
  end
  t.eq(#ulp.patches(p), 0, "no patch is in force")
  local snapshot = t.snapshot(c.pid)
  t.refused("runtime.disabled", function() return ulp.trigger(p, light) end)
  t.unchanged(c.pid, snapshot)
end
