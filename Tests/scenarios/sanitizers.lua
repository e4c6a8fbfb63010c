-- timeout: 120
-- Programs built with the address and the thread sanitizer, in whose runtimes all threads begin and wait, and whose main thread
-- waits for the others: patched at the first command and reverted, without a complaint.
local t = require "ulp.scenario"
local core = require "ulp.core"

local fix = t.patch "dozens_13"

local function path_of(library)
  local pipe = assert(io.popen("gcc -print-file-name=" .. library))
  local line = pipe:read "l"
  pipe:close()
  return line
end

-- The thread sanitizer takes the addresses it finds: some kernels scatter mappings too far for it.
for name, command in pairs {
  asan = {t.path "joined_asan"}, tsan = {"/usr/bin/setarch", "-R", t.path "joined_tsan"},
} do
  command.preload = {path_of("lib" .. name .. ".so"), core.runtime_path}
  command.env = {ASAN_OPTIONS = "detect_leaks=0"}
  command.timeout = 40
  local c <close> = t.target(command)
  local maps = t.read_file(("/proc/%d/maps"):format(c.pid))
  t.ok(maps:find("/lib" .. name .. ".so", 1, true), name .. " is loaded")
  t.switches(c, fix, {old = "12 turning\n", new = "13 turning\n"}, function(expected, rejected)
    c:ask("dozen", expected, {reject = {rejected, "Sanitizer"}})
  end)
  t.unharmed(c.pid)
end
