-- timeout: 60
-- A target that is idle in epoll_wait.
local t = require "ulp.scenario"
t.shared "idle"("epoll_wait", true)
