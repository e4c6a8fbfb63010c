-- timeout: 120
-- Entries whose padding lies on the page before, or on both pages, are diverted like others, and back.
local t = require "ulp.scenario"
local ulp = require "ulp"

-- Where on its page the function begins. The padding is 14 bytes long and holds an address at 8 bytes before the entry. What
-- would put that address, or the two bytes at the entry itself, on two pages is refused: no single store could write it.
local diverted, refused = {0, 8, 9, 13, 14, 4094}, {1, 4, 7, 4095}
local places = table.move(refused, 1, #refused, #diverted + 1, table.move(diverted, 1, #diverted, 1, {}))
local parts, units = {}, {}
for _, place in ipairs(places) do
  -- A section of its own begins at a page and is filled up to the padding. Code before the page is the section's own too.
  parts[#parts + 1] = ([[
    __asm__(".pushsection .text.at%d,\"ax\",@progbits\n.p2align 12\n.skip %d, 0xcc\n.popsection");
    __attribute__((section(".text.at%d"))) int at_%d(void) { return %d; }
  ]]):format(place, 4096 + place - 14, place, place, place)
  units[#units + 1] = ("int at_%d_2(void) { return 10000 + %d; }"):format(place, place)
end
local library = t.cc {
  kind = "library", as = "libpagecross", code = table.concat(parts), flags = {"-fno-align-functions", "-fno-toplevel-reorder"},
}
local program = t.cc {kind = "program", as = "pagecross", link = {"-ldl"}, code = [[
  #include <dlfcn.h>
  #include <stdio.h>
  int main(int argc, char **argv) {
    char name[80];
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
    if (!library) return 2;
    for (puts("ready"); fflush(stdout), scanf("%79s", name) == 1;) {
      int (*function)(void) = (int (*)(void))dlsym(library, name);
      printf("%s=%d.\n", name, function ? function() : -1);
    }
  }
]]}

local c <close> = t.target {program, library}
local p <close> = assert(ulp.attach(c.pid))
local code, chosen = table.concat(units, "\n"), {}
for _, place in ipairs(places) do t.eq(p:symbol("at_" .. place) & 4095, place, "place on the page") end
for _, place in ipairs(diverted) do chosen["at_" .. place] = ("at_%d_2"):format(place) end

local function shows(add)
  for _, place in ipairs(diverted) do
    local wrong = ("at_%d=%d."):format(place, place + 10000 - add)
    c:ask("at_" .. place, ("at_%d=%d.\n"):format(place, place + add), {reject = wrong})
  end
  for _, place in ipairs(refused) do c:ask("at_" .. place, ("at_%d=%d.\n"):format(place, place)) end
end
local all = t.cc {as = "all.so", target = library, code = code, units = chosen}
t.switches(p, all, {old = 0, new = 10000}, shows)

for _, place in ipairs(refused) do
  local fix = t.cc {as = place .. ".so", target = library, code = code, units = {["at_" .. place] = ("at_%d_2"):format(place)}}
  local before = t.snapshot(c.pid)
  t.refused("entry.crosses_page", function() return ulp.trigger(p, fix) end)
  t.unchanged(c.pid, before)
  shows(0)
end
