-- timeout: 120
-- On SUSE's runtime: every form of entry, wide paddings of old libraries among them, is patched, stacked and taken back; a
-- program that opted out by its environment is refused by name until live patching is switched on; of several copies of a
-- library the one that the program itself is linked with is patched, as by SUSE's tool on either runtime.
local t = require "ulp.scenario"
local ulp = require "ulp"
local suse = t.shared "suse"
local runtime = t.path "suse/libpulp.so"

for _, form in ipairs {"number", "number_endbr", "number_wide", "number_wide_endbr", "number_two_byte"} do
  local c <close> = t.target {"caller", t.path("lib" .. form .. ".so.0"), preload = runtime}
  local second, third = t.patch(form .. "_2"), t.patch(form .. "_3")
  local function shows(number)
    local others = {}
    for other = 1, 3 do if other ~= number then others[#others + 1] = "number=" .. other end end
    c:ask("number", ("number=%d\n"):format(number), {reject = others})
    t.unharmed(c.pid)
  end
  shows(1)
  for _ = 1, 2 do
    t.state(ulp.trigger(c.pid, second), "done", form)
    shows(2)
    t.state(ulp.trigger(c.pid, third), "done", form)
    shows(3)
    t.state(ulp.revert(c.pid, third), "done", form)
    shows(2)
    t.state(ulp.revert(c.pid, second), "done", form)
    shows(1)
  end
end

-- Not prepared: refused before anything is stopped, as 278 of that runtime would disable it.
do
  local c <close> = t.target {"caller", t.path "libnumber_unprepared.so.0", preload = runtime}
  local fix = t.patch("number_unprepared_2", {target = t.path "other/libnumber_unprepared.so.0"})
  local p <close> = assert(ulp.attach(c.pid))
  t.refused("entry.not_prepared", function() return ulp.trigger(p, fix) end)
  t.eq(p:runtime():error_state(), 0, "it was not asked")
  c:ask("number", "number=1\n", {reject = "number=2"})
end

local fix = t.patch "dozens_13"
for name, value in pairs {PATH = "/nowhere:*/numserv", USERS = "0:*", GROUPS = "*"} do
  local c <close> = t.target {"numserv", preload = runtime, env = {["LIBPULP_DISABLE_ON_" .. name] = value}}
  local said = t.refused("runtime.disabled", function() return ulp.trigger(c.pid, fix) end)
  t.ok(said.message:find("switched off", 1, true), tostring(said))
  c:ask("dozen", "12\n", {reject = "13"})
  t.state(ulp.set_patchable(c.pid, true), "done")
  t.state(ulp.trigger(c.pid, fix), "done", name)
  c:ask("dozen", "13\n", {reject = "12"})
end

-- A copy in a namespace of its own (dlmopen) stays what it was.
local program = t.cc {kind = "program", as = "twice", libraries = {t.path "libdozens.so.0"}, code = [[
  #define _GNU_SOURCE
  #include <dlfcn.h>
  #include <stdio.h>
  int dozen(void);
  int main(int argc, char **argv) {
    char line[80];
    void *copy = dlmopen(LM_ID_NEWLM, argv[argc - 1], RTLD_NOW);
    int (*other)(void) = copy ? (int (*)(void))dlsym(copy, "dozen") : 0;
    if (!other || other == dozen) return 2;
    for (puts("ready"); fflush(stdout), fgets(line, sizeof line, stdin);) printf("dozen=%d other=%d.\n", dozen(), other());
  }
]]}
for _, preload in ipairs {runtime, ulp.core.runtime_path} do
  local c <close> = t.target {program, t.path "libdozens.so.0", preload = preload}
  local function shows(dozen) c:ask("?", ("dozen=%d other=12.\n"):format(dozen), {reject = "dozen=" .. 25 - dozen}) end
  shows(12)
  for _ = 1, 2 do
    t.state(ulp.trigger(c.pid, fix), "done")
    shows(13)
    t.state(ulp.revert(c.pid, fix), "done")
    shows(12)
    suse.trigger(c, fix)
    shows(13)
    suse.revert(c, fix)
    shows(12)
  end
  t.unharmed(c.pid)
end
