-- timeout: 90
-- A borrowed thread gets a lock that others take again as soon as they have released it, and leaves them with it.
local t = require "ulp.scenario"
local ulp = require "ulp"

local sources = t.here .. "/../targets/"
local library = t.cc {kind = "library", as = "libhog.so", source = sources .. "libraries/libhog.c"}
local program = t.cc {kind = "program", as = "hog", source = sources .. "programs/hog.c", libraries = {library}}
local fix = t.cc {
  as = "fix.so", target = library, units = {hog = "hog_2"}, libraries = {library}, code = [[
    #include <pthread.h>
    extern pthread_mutex_t hog_lock;
    __attribute__((constructor)) static void begin(void) {
      pthread_mutex_lock(&hog_lock);
      pthread_mutex_unlock(&hog_lock);
    }
    int hog_2(void) { return 13; }]],
}

for _, count in ipairs {"1", "3"} do
  local c <close> = t.target {program, count, timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  -- The thread in question needs a processor in time, too: on a busy machine one attempt may miss it. Without help hundreds do.
  local result
  for _ = 1, 40 do
    result = ulp.try_trigger(p, fix, {timeout = 20, max_carrier = "100ms"})
    if result then break end
    c:ask("tell", "hog=12 active=%d+%.", {pattern = true, reject = "hog=13"})
    t.unharmed(c.pid)
  end
  t.state(result, "done", count .. " threads that take it all the time")
  t.unharmed(c.pid)
  c:ask("tell", "hog=13 active=%d+%.", {pattern = true, reject = "hog=12"})
  t.sleep(0.1)
  c:ask("tell", "hog=13 active=[1-9]%.", {pattern = true, reject = "active=0"})
  t.state(ulp.revert(p, fix, {timeout = 20}), "done")
  c:ask("tell", "hog=12 active=%d+%.", {pattern = true, reject = "hog=13"})
end
