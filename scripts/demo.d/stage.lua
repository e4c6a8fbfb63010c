--- The demo's stage: server, clients and patch. Run in the directory of the built demo.
local core = require "ulp.core"
local ulp = require "ulp"

local M = {}

local here = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$"

M.connections = 16
local patience = 120 -- seconds until a program that does not answer counts as hung; the machine may be busy

--- Starts the server, with the runtime preloaded, and the clients.
function M.start()
  M.server = ulp.spawn {"./server", preload = true, timeout = patience}
  M.port = M.server:expect("port (%d+)\n", {pattern = true})
  M.clients = ulp.spawn {"./client", M.port, tostring(M.connections), timeout = patience}
  M.clients:expect "ready\n"
  -- Busy means that every connection has had answers.
  while M.count().answered < 20 * M.connections do core.sleep(0.01) end
end

--- What an attacker gets from the server now.
function M.probe()
  M.clients:send "probe\n"
  return (M.clients:expect("probe: ([^\n]*)\n", {pattern = true}))
end

--- The numbers of the clients so far: connections, sent, answered, failed, slowest_us.
function M.count(word)
  M.clients:send((word or "count") .. "\n")
  local counts = {}
  local line = M.clients:expect("(connections=[^\n]*)%.\n", {pattern = true})
  for name, value in line:gmatch "([%w_]+)=(%d+)" do counts[name] = tonumber(value) end
  return counts
end

--- The command that makes a shared object of the fix.
M.compile = {"gcc", "-O2", "-fPIC", "-shared", "-Wl,--build-id=sha1", "-o", "fix.so", here .. "/fix.c"}

--- Compiles and packs the fix; returns the container.
function M.pack()
  local compiler <close> = ulp.spawn(table.move(M.compile, 1, #M.compile, 1, {timeout = patience}))
  compiler:expect_exit(0)
  return assert(ulp.pack(here .. "/fix.dsc"))
end

--- For `scripts/demo --repl`: starts everything and returns what the operator works with.
function M.open()
  M.start()
  local process = assert(ulp.attach(M.server.pid))
  local fix = M.pack()
  print(("The server runs as process %d with %d busy connections. Try:"):format(process.pid, M.connections))
  print [[
  demo.probe()              what an attacker gets
  ulp.trigger(p, fix)       close the hole
  ulp.check(p, fix)         is it closed?
  ulp.revert(p, fix)        open it again
  demo.count()              did the clients notice?]]
  return process, fix
end

return M
