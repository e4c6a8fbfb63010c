-- A process that calls another of its files a memory file for the container: nothing is written to that.
local t = require "ulp.scenario"
local ulp = require "ulp"

local c <close> = t.target "numserv"
local p <close> = assert(ulp.attach(c.pid))
local fix = t.patch "dozens_13"
local path = t.directory() .. "/precious"
local file <close> = assert(io.open(path, "w+"))
file:write "precious\n"
file:flush()

-- Members of __ulp_ext (pulp_abi.h): where requests go, the list of memory files, and what makes one.
local ext = assert(p:symbol "__ulp_ext")
local request, files = p:unpack(ext + 144, "<I8"), p:unpack(ext + 216, "<I8")
p:write(request, path .. "\0")
local number = p:call("open", {request, 0})
t.ok(number > 2, "the program has it open for reading")
local stat <close> = assert(io.popen("stat -c '%d %i' '" .. path .. "'"))
local device, inode = stat:read("n", "n")
p:write(files, string.pack("<I8I8I4I4I4I4", device, inode, number, 0, 0, 0))
p:write(ext + 224, string.pack("<I8", assert(p:symbol "sched_yield"))) -- "the first"

t.refused("container.undeliverable", function() return ulp.trigger(p, fix, {deliver = "memfd"}) end)
file:seek "set"
t.ok(file:read "a" == "precious\n", "the file is as it was")
c:ask("dozen", "12\n")
t.unharmed(c.pid)
