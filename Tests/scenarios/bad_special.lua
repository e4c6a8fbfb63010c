-- A path that leads to a FIFO or a device is refused, and that is not opened: for some devices opening is a command.
local t = require "ulp.scenario"
local ulp = require "ulp"

local place = t.directory()
local fifo, flag = place .. "/fifo", place .. "/opened"
local function run(command) t.ok(os.execute(command), command) end

run(("mkfifo '%s'"):format(fifo))
-- A writer is let in as soon as somebody opens the other end.
run(("{ : > '%s' && : > '%s'; } 2> /dev/null &"):format(fifo, flag))
t.sleep(0.2)
local container, err = ulp.container(fifo)
t.eq({container, err and err.code}, {nil, "file.unreadable"})
t.sleep(0.2)
t.eq(io.open(flag), nil, "nobody opened it")
run(("timeout 60 cat '%s'"):format(fifo))
for _, path in ipairs {"/dev/null", place} do t.refused("file.unreadable", function() return ulp.container(path) end) end
