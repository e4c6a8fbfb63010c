--- The demo as a story. usage: ulpsh demo.lua SOURCES, in the directory of the built demo
local ulp = require "ulp"
local stage = dofile(arg[1] .. "/stage.lua")

local number, broken = 0, 0

local function step(text)
  number = number + 1
  print(("\n%d. %s"):format(number, text))
end

local function say(format, ...) print("   " .. format:format(...)) end

--- States what must hold; the demo goes on if it does not, and fails in the end.
local function holds(condition, text)
  if not condition then broken = broken + 1 end
  say("%s %s", condition and "[ok]" or "[BROKEN]", text)
end

local function leaks()
  local answer = stage.probe()
  say("probe: %s", answer)
  return answer:find("private key", 1, true) ~= nil
end

local function show(result)
  say("%s: %s; all threads stood still for %d us, one was borrowed for %d us", result.name, result.state,
    result.pause_us or 0, result.carrier_us or 0)
end

local began = os.time()
print "A server with a hole like Heartbleed is patched while it runs."

step "A server and its clients"
stage.start()
local p <close> = assert(ulp.attach(stage.server.pid))
say("process %d serves on port %s, %d threads; %d connections are kept busy from here to the end", p.pid, stage.port,
  #p.threads, stage.connections)

step "The hole: four bytes sent, 120 claimed"
holds(leaks(), "the server sends back what lies behind the message: a secret")

step "The patch, from a C file and a description"
say("$ %s", table.concat(stage.compile, " "))
say "$ ulpsh pack fix.dsc"
local fix = assert(ulp.container(stage.pack()))
say("%s replaces %s of %s", fix.path or "fix.so", "heartbeat", "libheartbeat.so.0")

local entry = assert(p:symbol "heartbeat").address
local function entry_bytes()
  return (p:read(entry - 14, 16):gsub(".", function(byte) return ("%02x "):format(byte:byte()) end))
end
local before = entry_bytes()

local function apply()
  local result = ulp.trigger(p, fix)
  result.name = "trigger"
  show(result)
  holds(result.state == "done", "the patch is in force")
  holds(ulp.check(p, fix).state == "done", "check finds it, without stopping anything")
end

step "Apply it, under full load"
say("the 14 bytes before heartbeat() and the 2 at its entry:")
say("before: %s", before)
apply()
local after = entry_bytes()
say("after:  %s", after)
holds(before ~= after, "the entry now leads to the new function")

step "The hole is gone"
holds(not leaks(), "a claim that goes beyond the message is discarded")

step "Take it back"
local result = ulp.revert(p, fix)
result.name = "revert"
show(result)
holds(result.state == "done", "the patch is undone")
holds(leaks(), "the hole is back, so it really was the patch")

step "Apply it again, for good"
apply()
holds(not leaks(), "closed")

step "What the clients noticed"
local counts = stage.count "quit"
say("%d requests, %d answers, %d failures on %d connections; the slowest answer took %.1f ms", counts.sent, counts.answered,
  counts.failed, counts.connections, counts.slowest_us / 1000)
holds(counts.sent > 0 and counts.sent == counts.answered and counts.failed == 0, "not one request was dropped or failed")
stage.clients:expect_exit(0)
holds(stage.server:alive(), "the server is still the process that was started")

print(("\n%s (%d s)"):format(broken == 0 and "All of it held." or broken .. " things did not hold.", os.time() - began))
os.exit(broken == 0 and 0 or 1, true)
