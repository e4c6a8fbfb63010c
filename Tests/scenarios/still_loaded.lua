-- A container that the loader itself keeps is out of force all the same: the result says so, it is used again when it is applied
-- again, is remembered once, and goes when the loader's reason goes.
local t = require "ulp.scenario"
local ulp = require "ulp"

local function containers_of(result) return t.state(result, "done").containers end
local function shows(c, number) c:ask("version", ("version=%d\n"):format(number), {reject = "version=" .. 7 - number}) end

-- Linked to stay.
local library = t.path "libversion.so.0"
local sticky = t.cc {as = "sticky.so", target = library, code = "int seven(void) { return 7; }", units = {version = "seven"},
  link = {"-Wl,-z,nodelete"}}
local c <close> = t.target {"caller", library, timeout = 30}
local p <close> = assert(ulp.attach(c.pid))
for round = 1, 5 do
  t.state(ulp.trigger(p, sticky), "done", "round " .. round)
  shows(c, 7)
  local left = containers_of(ulp.revert(p, sticky))
  t.eq({#left, left[1].state}, {1, "still_loaded"})
  t.ok(left[1].reason:find "loader", left[1].reason)
  shows(c, 0)
  t.eq(#assert(p:runtime()):patches(), 1, "remembered once")
end

-- A destructor of a thread-local variable keeps it until the thread ends; the operator has asked for the unload.
local guard = t.cc {as = "guard.so", target = library, units = {version = "guarded"}, code = [[
  extern int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
  extern void *__dso_handle;
  static void leave(void *unused) { (void)unused; }
  int guarded(void) { __cxa_thread_atexit_impl(leave, 0, &__dso_handle); return 7; }
]]}
t.state(ulp.trigger(p, guard), "done")
t.ok(assert(p:runtime()):patches()[1].keep:find "functions that keep", "why it is not unloaded of itself")
shows(c, 7)
t.eq(containers_of(ulp.revert(p, guard, {unload = true}))[1].state, "still_loaded")
shows(c, 0)
c:send "quit\n"
t.unharmed(c.pid)
