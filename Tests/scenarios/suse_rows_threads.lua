-- timeout: 240
-- slow
-- With SUSE's runtime: threads inside of what is replaced, asleep in system calls, cancelled, allocating and loading all the
-- time, in signal handlers, without a leader, and under filters: none of them notices, and all get the new function.
local t = require "ulp.scenario"
t.shared "suse_rows" {"blocked", "cold", "deadlock", "cancel", "redzone", "terminal", "syscall_restart",
  "idle_futex", "idle_nanosleep", "idle_epoll_wait", "pwait", "leader_exit", "threads", "threads64", "uring", "layouts",
  "seccomp_disable", "hard_targets"}
