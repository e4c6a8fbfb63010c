-- timeout: 30
-- The runtime's messages begin with its greeting; each change adds one; when the ring is full the oldest go, across its end.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target {"numserv", timeout = 20}
local p <close> = assert(ulp.attach(c.pid))
local fix = t.patch "dozens_13"

local greeting = "libpulp loaded...\n"
t.eq(ulp.messages(p), greeting)
t.state(ulp.trigger(p, fix), "done")
local text = ulp.messages(p)
t.eq(text:sub(1, #greeting), greeting)
t.eq(text:sub(#greeting + 1), "ulp: stage: ready, functions: 1\n")
local tool <close> = t.ulpsh {"messages", "-p", tostring(c.pid), timeout = 20}
tool:expect "libpulp loaded..."
tool:expect "functions: 1"
tool:expect_exit(0)

-- A full ring, as a long life makes it: 2 MiB of old messages, the next one does not fit before the end.
local queue, size = assert(p:symbol "__ulp_msg_queue"), 2097152
local line = "old message\n\0"
local count = size // #line - 1
p:write(queue, line:rep(count))
p:write(queue + size, string.pack("<I4I4I4", count * #line, 0, count * #line))
t.eq(#ulp.messages(p), count * (#line - 1))
t.state(ulp.revert(p, fix), "done")
t.state(ulp.trigger(p, fix), "done")
local wrapped = ulp.messages(p)
t.eq(wrapped:sub(-44), "old message\nulp: stage: ready, functions: 1\n", "the newest is at the end, and not repeated")
local old, _, distance = p:unpack(queue + size, "<I4I4I4")
t.ok(old < 200, "the new ones begin at the start of the ring")
t.ok(distance < size and #wrapped < size)
t.eq(wrapped:sub(1, #line - 1), "old message\n", "whole messages go, not parts")
t.ok(not wrapped:find("message\nessage", 1, true))

-- Indexes that no ring can have are refused, and the runtime leaves such a ring alone.
p:write(queue + size, string.pack("<I4I4I4", 0, 0xffffffff, 5))
t.refused("runtime.corrupt", function() return ulp.messages(p) end)
t.state(ulp.revert(p, fix), "done")
c:ask("dozen", "12\n", {reject = "13"})
local top, bottom, left = p:unpack(queue + size, "<I4I4I4")
t.eq({top, bottom, left}, {0, 0xffffffff, 5}, "left alone")
t.unharmed(c.pid)
