-- Processes that cannot be patched: gone, static, of 32 bits.
local t = require "ulp.scenario"
local ulp = require "ulp"
local bad = t.shared "bad"
local fix = t.patch "dozens_13"

local gone <close> = t.target "numserv"
gone:kill()
gone:close()
t.refused("process.not_found", function() return ulp.attach(gone.pid) end)
t.refused("process.not_found", function() return ulp.trigger(gone.pid, fix) end)

do
  local c <close> = t.target {"unlinked", preload = false}
  bad.refuses(c, fix, "process.static")
  c:ask("x", "still here\n")
end

do
  local c <close> = t.spawn {t.path "word32"}
  -- A kernel without 32-bit programs cannot run into the case either.
  if not pcall(c.expect, c, "ready\n") then t.skip "the kernel does not run 32-bit programs" end
  bad.refuses(c, fix, "process.word_size")
  c:ask("echo", "echo\n")
end
