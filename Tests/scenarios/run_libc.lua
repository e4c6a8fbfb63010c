-- With the runtime preloaded, the C library and the dynamic loader still run as programs, and so do programs through the loader.
local t = require "ulp.scenario"
local core = require "ulp.core"

--- Where this process has a library from: the path that works here.
local function mapped(name)
  for line in io.lines "/proc/self/maps" do
    local path = line:match "%s(/%S+)$"
    if path and path:match "[^/]*$" == name then return path end
  end
  error(name .. " is not mapped")
end
local libc, loader = mapped "libc.so.6", mapped "ld-linux-x86-64.so.2"

for _ = 1, 3 do
  local c <close> = t.spawn {libc, preload = true}
  c:expect "GNU C Library"
  c:expect_exit(0)
end
do
  local c <close> = t.spawn {loader, "--version", preload = true}
  c:expect "ld.so"
  c:expect_exit(0)
end
local c <close> = t.spawn {loader, t.path "numserv", preload = true}
c:expect "ready\n"
c:ask("dozen", "12\n", {reject = "13"})
c:send "quit\n"
c:expect_exit(0)

-- And with the runtime on the loader's own command line.
local d <close> = t.spawn {loader, "--preload", core.runtime_path, t.path "numserv"}
d:expect "ready\n"
d:ask("dozen", "12\n")
t.unharmed(d.pid)
