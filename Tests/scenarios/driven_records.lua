-- timeout: 60
-- What SUSE's tool reads out of the process: names, version and state, the list of patches field by field with its units, the
-- metadata buffer and the queue before and after; and which of them its answers depend on.
local t = require "ulp.scenario"
local ulp = require "ulp"
local suse = t.shared "suse"
local metadata = t.shared "metadata"

local function hex(bytes) return (bytes:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end)) end

--- The memory of a process, as that tool would read it.
local function reader(p)
  local M = {}
  function M.bytes(address, size) return p:read(address, size) end
  function M.word(address) return (string.unpack("<I8", p:read(address, 8))) end
  function M.number(address) return (string.unpack("<i4", p:read(address, 4))) end
  function M.text(address) -- in steps of 8 bytes from wherever it begins
    local found = ""
    repeat
      found = found .. p:read(address, 8)
      address = address + 8
    until found:find "\0"
    return found:match "^[^\0]*"
  end
  return M
end

do
  local c <close> = t.target {"numserv", timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  local r = reader(p)
  local function place(name) return assert(p:symbol("__ulp_" .. name)) end

  -- Names, version, state.
  local symbols = suse.run("symbols", c.pid).text
  t.ok(symbols:find("names=12\n", 1, true), "eleven of SUSE's, and __ulp_ext: " .. symbols)
  t.ok(symbols:find("toggle=1 error_state=1 messages=1 queue=1\nload_state=1 error=0 universe_entry=1", 1, true), symbols)
  local first, second, third = r.text(place "version"):match "^(%d+)%.(%d+)%.(%d+)$"
  for _, part in ipairs {first, second, third} do t.ok(tonumber(part) <= 65535, "a component of the version") end
  t.ok(tonumber(first) * 65536 + tonumber(second) * 256 + tonumber(third) >= 3 * 256 + 1, "0.3.1 at least: records have a time")
  t.eq(r.word(place "state" + 8), 0, "no patch")

  -- Two patches; the newest first.
  local dozens, hundreds = t.patch "dozens_13", t.patch "hundreds_200"
  local entry = assert(p:symbol "dozen")
  local original = r.bytes(entry, 14)
  local before = os.time()
  suse.trigger(c, dozens)
  suse.trigger(c, hundreds)
  local record = r.word(place "state" + 8)
  local expected = {{hundreds, "libhundreds.so.0", "hundred"}, {dozens, "libdozens.so.0", "dozen"}}
  p:refresh()
  for _, row in ipairs(expected) do
    local path, library, name = table.unpack(row)
    t.eq(hex(r.bytes(record, 32)), assert(ulp.container(path)).id, "the id")
    t.eq(r.text(r.word(record + 32)), library, "the basename of the target")
    t.eq(r.text(r.word(record + 40)), path, "the path of the container")
    t.eq(#r.bytes(r.word(record + 32) + #library, 8), 8, "seven bytes behind the NUL can be read")
    t.eq(r.word(record + 64), 0, "no dependency")
    local time = r.word(record + 72)
    t.ok(time >= before - 1 and time <= os.time() + 1, "the time")
    local unit = r.word(record + 48)
    t.eq(r.word(unit), assert(p:symbol(name)), "the function")
    local container = assert(p.libs[path:match "[^/]*$"])
    t.ok(r.word(unit + 8) >= container.first and r.word(unit + 8) < container.last, "its replacement")
    if name == "dozen" then t.eq(hex(r.bytes(unit + 16, 14)), hex(original), "the bytes of the entry before") end
    t.eq({r.bytes(unit + 30, 1), r.word(unit + 32)}, {"\0", 0}, "a byte of 0, and the next unit")
    record = r.word(record + 56)
  end
  t.eq(record, 0, "the end of the list")

  -- The bytes of a detour, after the next operation has settled it, and after the revert.
  t.eq(hex(r.bytes(entry - 14, 6)), "ff2500000000", "a jump through the address behind it")
  t.eq(hex(r.bytes(entry, 2)), "ebf0", "a short jump to it")
  local container, target = p.libs["dozens_13.so"], r.word(entry - 8)
  t.ok(target >= container.first and target < container.last, "directly to the new function")

  -- The metadata buffer: zeros after each trigger that was parsed, whatever its result; not touched by check and revert-all.
  local buffer = place "metadata_buffer"
  t.eq(r.bytes(buffer, 4096), ("\0"):rep(4096), "after a trigger")
  suse.expect("EAPPLIED", "trigger", c.pid, dozens)
  t.eq(r.bytes(buffer, 4096), ("\0"):rep(4096), "after a trigger that was refused")
  suse.applied(c, dozens)
  t.eq(hex(r.bytes(buffer, 32)), assert(ulp.container(dozens)).id, "after a check")
  suse.expect("ENOTARGETLIB", "revert-all", c.pid, "libnowhere.so")
  t.eq(r.bytes(buffer, 14), "libnowhere.so\0", "after a revert-all")

  -- All of the buffer can be used; what lies behind the last reference is ignored.
  local whole = suse.wire {target = "libnowhere.so\0"}
  local found = suse.raw(c, whole .. ("x"):rep(524287 - #whole))
  t.eq(found.name, "ENOTARGETLIB", found.text)
  t.eq(r.bytes(buffer, 524288), ("\0"):rep(524288), "all of it is cleared")

  -- The queue is acknowledged, and what was in it stays.
  local queue = place "insn_queue"
  t.eq({string.unpack("<I4I4I4I4", r.bytes(queue, 16))}, {1, 0, 0, 0, 17}, "version 1, empty")

  -- reverted: the two bytes, and the padding as it was patched
  suse.revert(c, dozens)
  suse.revert(c, hundreds)
  suse.trigger(c, hundreds)
  t.eq({hex(r.bytes(entry, 2)), hex(r.bytes(entry - 14, 6))}, {"6690", "ff2500000000"}, "reverted")
  suse.revert(c, hundreds)
  t.eq(r.word(place "state" + 8), 0, "the list is empty")

  -- Not before the constructor has run.
  local state = place "state"
  p:write(state, "\0")
  suse.run("symbols", c.pid)
  t.eq(suse.run("trigger", c.pid, dozens).name, "EAGAIN", "load state 0")
  t.ok(not ulp.try_trigger(p, dozens), "for ulpsh as well")
  p:write(state, "\1")
  -- Any error state is the answer, toggling leaves it alone, and check says no.
  local error_state = place "error_state"
  for _, number in ipairs {256, 285, 280} do
    p:write(error_state, string.pack("<i4", number))
    t.eq(suse.run("trigger", c.pid, dozens).rax, number)
    t.eq(suse.run("revert-all", c.pid, "libdozens.so.0").rax, number)
    if number ~= 280 then
      t.eq(suse.run("enable", c.pid).text:match "state=(%d+)", tostring(number))
      t.eq(r.number(error_state), number)
    end
  end
  t.eq(suse.run("enable", c.pid).text:match "state=(%d+)", "0")
  c:ask("dozen", "12\n", {reject = "13"})
  suse.trigger(c, dozens)
  c:ask("dozen", "13\n", {reject = "12"})
  t.unharmed(c.pid)
end

-- Several units: in the order of the description. The program as target: its own name.
do
  local c <close> = t.target {"teller", timeout = 20}
  local p <close> = assert(ulp.attach(c.pid))
  local r = reader(p)
  local fix = t.patch("teller_2", {target = t.path "teller", units = {"whisper:whisper_2", "tell:tell_3"}})
  t.ok(#metadata.read(fix) > 100, "it has metadata")
  suse.trigger(c, fix)
  local record = r.word(assert(p:symbol "__ulp_state") + 8)
  t.eq(r.text(r.word(record + 32)), "teller", "the program's name")
  local unit, entries = r.word(record + 48), {}
  while unit ~= 0 do
    entries[#entries + 1] = r.word(unit)
    unit = r.word(unit + 32)
  end
  local units = {}
  for index, planned in ipairs(assert(ulp.container(fix)).units) do units[index] = p.libs[1].bias + planned.old_address end
  t.eq(entries, units, "the units, in order")
  c:ask("tell", "tell=3\n", {reject = "tell=40"})
  c:ask("whisper", "whisper=8\n", {reject = "whisper=7"})
  suse.expect("ENONE", "revert-all", c.pid, "teller")
  c:ask("tell", "tell=40\n", {reject = "tell=3"})
end
