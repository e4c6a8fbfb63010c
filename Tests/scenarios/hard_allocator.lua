-- timeout: 180
-- slow
-- Programs with an allocator of their own, preloaded or linked in, whose lock busy threads hold most of the time, and one built
-- with the address sanitizer: patched at the first command and reverted.
local t = require "ulp.scenario"
local core = require "ulp.core"
local hard = t.shared "hard"

--- Fails unless the process has this library mapped.
local function has(c, library)
  local maps = t.read_file(("/proc/%d/maps"):format(c.pid))
  t.ok(maps:find("/" .. library, 1, true), library .. " is loaded")
end

local allocators = {t.path "own_malloc.so"}
local jemalloc = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"
if io.open(jemalloc) then allocators[2] = jemalloc end
for _, allocator in ipairs(allocators) do
  -- In either order of preloading.
  for _, preload in ipairs {{core.runtime_path, allocator}, {allocator, core.runtime_path}} do
    hard.first_command({"churn", "malloc", "4"}, {rounds = 2, target = {preload = preload}, seen = function(c)
      has(c, allocator:match "[^/]+$")
    end})
  end
end

-- Any of the program's functions may belong to its allocator; a thread that waits for its next request is in none of that.
hard.first_command({"churn_own", "malloc", "4"}, {rounds = 4})

-- The sanitizer's runtime insists on being the first.
local function read_name(request)
  local pipe = assert(io.popen(request))
  local line = pipe:read "l"
  pipe:close()
  return line
end
local sanitizer = read_name "gcc -print-file-name=libasan.so"
do
  local c <close> = t.target {
    "numserv_asan", preload = {sanitizer, core.runtime_path}, env = {ASAN_OPTIONS = "detect_leaks=0"}, timeout = 40,
  }
  has(c, "libasan.so")
  t.switches(c, t.patch "dozens_13", {old = "12\n", new = "13\n"}, function(expected, rejected)
    c:ask("dozen", expected, {reject = {rejected, "AddressSanitizer"}})
    c:ask("hundred", "100\n", {reject = "AddressSanitizer"})
  end)
  c:send "quit\n"
  c:expect("bye\n", {reject = "AddressSanitizer"})
  c:expect_exit(0)
end
hard.first_command({"churn_asan", "malloc", "3"}, {rounds = 2, target = {
  preload = {sanitizer, core.runtime_path}, env = {ASAN_OPTIONS = "detect_leaks=0:quarantine_size_mb=4"},
}})
-- The other way round it does not start, and says why: nothing of ours hides that.
do
  local c <close> = t.spawn {t.path "numserv_asan", preload = {core.runtime_path, sanitizer}, timeout = 40}
  c:expect("does not come first", {reject = "ready"})
end
