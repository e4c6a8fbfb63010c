-- timeout: 60
-- Functions of a process are called on a borrowed thread, with and without the runtime; the thread never notices.
local t = require "ulp.scenario"
local ulp = require "ulp"

local function calls(preload)
  local where = preload and "with the runtime" or "without the runtime"
  do
    local c <close> = t.target {"numserv", preload = preload}
    local p <close> = assert(ulp.attach(c.pid))
    for _ = 1, 50 do t.eq((p:call "getpid"), c.pid, where) end
    t.eq((p:call("labs", {-77})), 77, where)
    t.eq((p:call("strlen", {p:symbol "environ" and p:unpack(p:unpack(p:symbol "environ", "<i8"), "<i8")})) > 0, true,
      "an indirect function is resolved first")
    local err = t.raises("call.fault", function() return p:call("strlen", {8}) end)
    t.eq(err.signal, 11, "the fault is told, not delivered")
    t.raises("call.unknown_function", function() return p:call "no_such_function" end)
    t.raises("call.unknown_function", function() return p:call(c.pid) end)
    t.unharmed(c.pid)
    c:ask("dozen", "12\n")
    t.eq((p:call "getpid"), c.pid, "it works after a fault, too")
  end
  do
    local c <close> = t.target {"threads", "4", preload = preload}
    local p <close> = assert(ulp.attach(c.pid))
    for _ = 1, 100 do t.eq((p:call "getpid"), c.pid, where) end
    c:send "tell\n"
    local wrong, registers = c:expect("wrong=(%d+) registers=(%d+)", {pattern = true})
    t.eq({wrong, registers}, {"0", "0"}, "results and vector registers " .. where)
    t.unharmed(c.pid)
  end
  for _, wait in ipairs {"poll", "nanosleep", "futex", "epoll_wait"} do
    local c <close> = t.target {"idle", wait, "200", preload = preload}
    local p <close> = assert(ulp.attach(c.pid))
    for _ = 1, 20 do t.eq((p:call "getpid"), c.pid, where) end
    t.sleep(0.5)
    c:send "report\n"
    local interrupted, failed, early = c:expect("interrupted=(%d+) failed=(%d+) early=(%d+)", {pattern = true})
    t.eq({interrupted, failed, early}, {"0", "0", "0"}, wait .. " " .. where)
  end
end

calls(true)
calls(false)
