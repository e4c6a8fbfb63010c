-- timeout: 120
-- Applying and reverting leave the protection of the library's text as it is: rwx stays rwx, r-x stays r-x.
local t = require "ulp.scenario"
local ulp = require "ulp"

local library = t.cc {kind = "library", as = "libprotected", code = "int dozen(void) { return 12; }"}
local program = t.cc {kind = "program", as = "protected", libraries = {library}, code = [[
  #include <stdint.h>
  #include <stdio.h>
  #include <stdlib.h>
  #include <sys/mman.h>
  int dozen(void);
  int main(int argc, char **argv) {
    char line[80];
    void *page = (void *)((uintptr_t)dozen & -4096);
    if (argc > 1 && mprotect(page, 4096, atoi(argv[1]))) return 2;
    for (puts("ready"); fflush(stdout), fgets(line, sizeof line, stdin);) printf("dozen=%d.\n", dozen());
  }
]]}
local fix = t.cc {as = "fix.so", target = library, units = {dozen = "dozen_2"}, code = "int dozen_2(void) { return 13; }"}

-- PROT_READ is 1, PROT_WRITE 2, PROT_EXEC 4.
for wanted, bits in pairs {["rwxp"] = "7", ["r-xp"] = "5"} do
  local c <close> = t.target {program, bits}
  local p <close> = assert(ulp.attach(c.pid))
  local entry = p:symbol "dozen"

  --- The protections of all mappings of files, and that of the page with the function.
  local function protections()
    local all, own = {}, nil
    p:refresh()
    for _, map in ipairs(p.maps) do
      if map.path:sub(1, 1) == "/" then all[#all + 1] = ("%x-%x %s"):format(map.first, map.last, map.permissions) end
      if map.first <= entry and entry < map.last then own = map.permissions end
    end
    return table.concat(all, "\n"), own
  end
  local before, own = protections()
  t.eq(own, wanted, "protection before")
  local with_patch
  t.switches(p, fix, {old = 12, new = 13}, function(new, old)
    c:ask("?", ("dozen=%d.\n"):format(new), {reject = ("dozen=%d."):format(old)})
    local now, page = protections()
    t.eq(page, wanted, "protection of the text")
    if new == 13 then
      with_patch = with_patch or now
      for line in before:gmatch "[^\n]+" do t.ok(now:find(line, 1, true), line .. " is still mapped") end
      -- The container's own mappings are no writable code either.
      t.eq(select(2, now:gsub("wx", "")), select(2, before:gsub("wx", "")), "writable and executable mappings")
    else
      t.eq(now, before, "all mappings of files")
    end
  end)
  t.ok(with_patch, "the patch was looked at")
end
