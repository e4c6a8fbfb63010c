-- timeout: 90
-- Loading that takes longer than `timeout` or `max_carrier` is ended wherever it is: in a library that the patch brings, in the
-- patch itself, or in the last one of a set; all that was loaded goes again, and nothing of the change is in force.
local t = require "ulp.scenario"
local ulp = require "ulp"

local dozens, hundreds = t.path "libdozens.so.0", t.path "libhundreds.so.0"
--- A constructor that takes 5 s where the variable of the environment is set in the program, by calls that can be left.
local function sleeper(variable, name)
  return ([[
  #include <stdlib.h>
  #include <time.h>
  __attribute__((constructor)) static void %s(void) {
    struct timespec turn = {0, 50000000};
    for (int i = 0; getenv("%s") && i < 100; i++) nanosleep(&turn, 0);
  }]]):format(name, variable)
end
local early = t.cc {kind = "library", as = "libearly.so",
  code = sleeper("EARLY", "early") .. "\nint early_13(void) { return 13; }"}
local bringing = t.cc {as = "bringing.so", target = dozens, units = {dozen = "dozen_13"}, libraries = {early},
  code = sleeper("LATE", "late") .. "\nint early_13(void); int dozen_13(void) { return early_13(); }"}
local last = t.cc {as = "last.so", target = hundreds, units = {hundred = "hundred_200"},
  code = sleeper("LAST", "last") .. "\nint hundred_200(void) { return 200; }"}

local limits = {
  {code = "stage.max_carrier", options = {max_carrier = "100ms", timeout = 90}},
  {code = "call.timeout", options = {timeout = 1}},
}
for variable, constructor in pairs {EARLY = "early", LATE = "late", LAST = "last"} do
  local c <close> = t.target {"numserv", env = {[variable] = "1"}, timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  local function loaded()
    p:refresh()
    for _, library in ipairs(p.libs) do
      for _, mine in ipairs {early, bringing, last} do if library.path == mine then return mine end end
    end
  end
  local function serves(dozen, hundred)
    c:ask("dozen", dozen .. "\n", {reject = tostring(25 - dozen)})
    c:ask("hundred", hundred .. "\n", {reject = tostring(300 - hundred)})
  end
  for _, limit in ipairs(limits) do
    local what = ("%s by %s"):format(variable, limit.code)
    local universe, began = p:runtime():universe(), t.clock()
    local err = t.refused(limit.code, function() return ulp.trigger(p, {bringing, last}, limit.options) end)
    t.ok(t.clock() - began < 30, what .. ": it does not take all its time")
    t.eq({err.cause, err.forced, err.constructor, err.unloaded}, {"timeout", true, constructor, true}, what)
    t.eq({loaded(), p:runtime():universe(), (p:runtime():state()), #ulp.patches(p)}, {nil, universe, "idle", 0}, what)
    serves(12, 100)
    t.unharmed(c.pid)
  end
  t.state(ulp.trigger(p, t.patch "dozens_13"), "done", "the next change works")
  serves(13, 100)
end

-- With nobody in a hurry.
local c <close> = t.target {"numserv", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
t.eq(assert(ulp.plan(p, bringing)).applies[1].brings, {early:match "[^/]*$"}, "what it brings")
t.state(ulp.trigger(p, {bringing, last}, {max_carrier = "10s", timeout = 20}), "done")
c:ask("dozen", "13\n", {reject = "12"})
c:ask("hundred", "200\n", {reject = "100"})
