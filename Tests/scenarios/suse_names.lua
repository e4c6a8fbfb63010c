-- timeout: 60
-- SUSE's runtime takes the first library whose path contains the target's name, and compares the program with what that calls
-- itself. Where it would take another one, nothing is sent; a program of another name is found all the same.
local t = require "ulp.scenario"
local ulp = require "ulp"

local fix = t.patch "dozens_13"
local directory = t.directory() .. "/about libdozens.so.0"
assert(os.execute(("mkdir %q"):format(directory)))
local decoy = directory .. "/libdecoy.so"
t.write_file(decoy, t.read_file(t.cc {kind = "library", as = "libdecoy", code = "int decoy(void) { return 1; }"}))

-- Blanks separate the entries of LD_PRELOAD.
local link = t.directory() .. "/libdozens.so.0.d"
assert(os.execute(("ln -s %q %q"):format(directory, link)))
do
  local c <close> = t.spawn {t.path "numserv", env = {LD_PRELOAD = t.path "suse/libpulp.so" .. ":" .. link .. "/libdecoy.so"}}
  c:expect "ready\n"
  local p <close> = assert(ulp.attach(c.pid))
  t.ok(p.libs["libdecoy.so"], "the decoy is loaded")
  local before = t.snapshot(c.pid)
  local refusal = t.refused("target.not_loaded", function() return ulp.trigger(p, fix) end)
  t.ok(refusal.message:find("libdecoy.so", 1, true), refusal.message)
  t.unchanged(c.pid, before)
  -- Sent by hand it would be written into the decoy: what the call queues is compared with what was planned.
  local container = assert(ulp.container(fix))
  local entry = p.libs["libdozens.so.0"].bias + container.units[1].old_address
  local sent, err = pcall(p:runtime().enter, p:runtime(), "__ulp_trigger", container:wire(fix), {entries = {entry}})
  t.ok(sent and err.value ~= 0 or not sent and err.code == "stage.failed", tostring(err))
  t.eq({p:runtime():state(), p:runtime():error_state(), #p:runtime():patches()}, {"idle", 0, 0})
  c:ask("dozen", "12\n", {reject = "13"})
  t.unharmed(c.pid)
end

-- The program was started under another name than its file's.
local program = t.cc {kind = "program", as = "tellnumber", code = [[
  #include <stdio.h>
  __attribute__((noinline)) int tell(void) { return 40; }
  int main(void) {
    char word[64];
    setvbuf(stdout, NULL, _IONBF, 0);
    for (puts("ready"); scanf("%63s", word) == 1;) printf("tell=%d\n", tell());
  }
]]}
local patch = t.cc {as = "tell_2.so", target = program, code = "int tell_2(void) { return 41; }", units = {tell = "tell_2"}}
do
  local c <close> = t.spawn {"/bin/bash", "-c", ('exec -a somebody "%s"'):format(program), preload = t.path "suse/libpulp.so"}
  c:expect "ready\n"
  local p <close> = assert(ulp.attach(c.pid))
  for round = 1, 2 do
    c:ask("?", "tell=40\n")
    t.state(ulp.trigger(p, patch), "done")
    c:ask("?", "tell=41\n", {reject = "tell=40"})
    t.ok(ulp.check(p, patch).applied)
    t.eq({#ulp.patches(p), ulp.patches(p)[1].target}, {1, program:match "[^/]*$"})
    t.state(round == 1 and ulp.revert(p, patch) or ulp.revert_all(p, program:match "[^/]*$"), "done")
    c:ask("?", "tell=40\n", {reject = "tell=41"})
    t.unharmed(c.pid)
  end
end
