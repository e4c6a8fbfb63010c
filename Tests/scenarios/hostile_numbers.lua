-- timeout: 120
-- Numbers with which one cannot calculate, wherever a process can put one: an error with a code, never the end of the tool.
local t = require "ulp.scenario"
local ulp = require "ulp"

local never = ("\xff"):rep(8)
local fix = t.patch "dozens_13"

--- Writes `bytes`, looks and tries to change, and writes back what was there. Returns the codes of the refusals.
local function lie(pid, address, bytes)
  local p <close> = assert(ulp.attach(pid))
  local truth = p:read(address, #bytes)
  local codes = {}
  p:write(address, bytes)
  for _, try in ipairs {
    function(q) return assert(q:runtime()):messages() end,
    function(q) return ulp.patches(q) end, function(q) return ulp.check(q, fix) end,
    function(q) return ulp.trigger(q, fix, {timeout = 1}) end, function(q) return assert(q:runtime()):recover() end,
    function(q) return ulp.revert(q, fix, {timeout = 1}) end,
  } do
    local q <close> = assert(ulp.attach(pid))
    local done, result = pcall(try, q)
    if not done then codes[t.ok(type(result) == "table" and result.code, "an error with a code: " .. tostring(result))] = true end
  end
  p:write(address, truth)
  return codes
end

do
  local c <close> = t.target {"numserv", timeout = 100}
  local p <close> = assert(ulp.attach(c.pid))
  -- Members of __ulp_ext (pulp_abi.h).
  local ext = assert(p:symbol "__ulp_ext")
  local universe, operation = p:unpack(ext + 48, "<I8I8")
  -- The generation behind the last one, and none at all.
  t.ok(lie(c.pid, universe, never)["runtime.corrupt"], "the last generation")
  t.ok(lie(c.pid, universe, ("\0"):rep(8))["runtime.corrupt"], "no generation")
  -- An unfinished operation of a process that cannot be.
  local plan = assert(ulp.plan(p, assert(ulp.container(fix))))
  p:write(operation + 48, never)
  p:write(operation + 8, string.pack("<I4", 1))
  t.refused("operation.pending", function() return assert(p:runtime()):stage(plan) end)
  p:write(operation + 8, string.pack("<I4", 0))
  p:write(operation + 48, ("\0"):rep(8))

  -- The runtime's own headers say that it reaches to the end of everything, and its table names places there.
  local runtime, dozens
  for _, library in ipairs(p.libs) do
    if library.name:find "^libpulp" then runtime = library.bias end
    if library.name:find "^libdozens" then dozens = library.bias end
  end
  t.eq(p:call("mprotect", {runtime, 4096, 3}), 0)
  local first, count = p:unpack(runtime + 32, "<I8"), p:unpack(runtime + 56, "<I2")
  for index = 0, count - 1 do
    local header = runtime + first + 56 * index
    local kind, _, _, address = p:unpack(header, "<I4I4I8I8")
    if kind == 1 and address > 0 then p:write(header + 40, string.pack("<i8", -1 - address)) end
  end
  for _, member in ipairs {24, 40, 80, 192, 200} do
    local codes = lie(c.pid, ext + member, string.pack("<i8", -16))
    t.ok(codes["runtime.corrupt"] or codes["process.corrupt"], "a table that leads to the end: " .. member)
  end

  -- A function that reaches to the end of everything.
  local value = string.pack("<I8", assert(p:symbol "dozen") - dozens)
  local place = assert(p:read(dozens, 4096):find(value, 1, true))
  t.eq(p:call("mprotect", {dozens, 4096, 3}), 0)
  lie(c.pid, dozens + place + 7, never)
  c:ask("dozen", "12\n")
  t.unharmed(c.pid)
end

-- Relocations without end, in a target library that reaches as far as it says and in one that reaches to the end of everything.
for _, reach in ipairs {"as it is", "everything"} do
  local c <close> = t.target {"numserv", timeout = 100}
  local p <close> = assert(ulp.attach(c.pid))
  local base = p.libs["libdozens.so.0"].bias
  t.eq(p:call("mprotect", {base, 4096, 3}), 0)
  local dynamic
  for index = 0, p:unpack(base + 56, "<I2") - 1 do
    local header = base + p:unpack(base + 32, "<I8") + 56 * index
    local kind, _, _, address = p:unpack(header, "<I4I4I8I8")
    if kind == 2 then dynamic = base + address end
    if kind == 1 and address > 0 and reach == "everything" then p:write(header + 40, string.pack("<I8", 1 << 46)) end
  end
  t.eq(p:call("mprotect", {dynamic & ~4095, 8192, 3}), 0)
  for place = dynamic, dynamic + 1024, 16 do
    local tag = p:unpack(place, "<I8")
    if tag == 0 then break end
    if tag == 8 or tag == 2 then -- DT_RELASZ, DT_PLTRELSZ
      for _, size in ipairs {-1, 1 << 45, 1 << 33, 25} do lie(c.pid, place + 8, string.pack("<i8", size)) end
    end
  end
  c:ask("dozen", "12\n")
  t.unharmed(c.pid)
end

-- SUSE's runtime: a list that begins at the end, behind a call that failed.
local c <close> = t.target {"numserv", preload = t.path "suse/libpulp.so", timeout = 100}
local p <close> = assert(ulp.attach(c.pid))
local queue, state = assert(p:symbol "__ulp_insn_queue"), assert(p:symbol "__ulp_state")
local failed = assert(p:symbol "__ulp_error_state")
p:write(queue, string.pack("<I4I4I4I4I4", 1, 1, 4, 0, 0))
p:write(failed, string.pack("<I4", 256))
lie(c.pid, state + 8, string.pack("<i8", -8))
p:write(failed, string.pack("<I4", 0))
lie(c.pid, state + 8, string.pack("<i8", -8))
c:ask("dozen", "12\n")
t.unharmed(c.pid)
