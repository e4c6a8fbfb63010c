--- The demo as a story. usage: ulpsh demo.lua SOURCES, in the directory of the built demo
local core = require "ulp.core"
local ulp = require "ulp"
local stage = dofile(arg[1] .. "/stage.lua")

local number, broken = 0, 0

local function step(text)
  core.sleep(0.3) -- some thousand requests in each state of the server
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

local function show(verb, result)
  say("%s: %s; all threads stood still for %.0f us (pause_us), one was borrowed for %.0f us (carrier_us)", verb,
    result.state, result.pause_us, result.carrier_us)
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
local fix = stage.pack()
say("%s replaces heartbeat() of %s, build %s", fix.path:match "[^/]*$", fix.target, fix.target_build_id:sub(1, 12))

local entry = assert(p:symbol "heartbeat")
local function entry_bytes()
  return (p:read(entry - 14, 16):gsub(".", function(byte) return (" %02x"):format(byte:byte()) end))
end
local before = entry_bytes()

local function apply()
  local result = ulp.trigger(p, fix)
  show("trigger", result)
  holds(result.state == "done", "the patch is in force")
  holds(ulp.check(p, fix).state == "done", "check finds it, without stopping anything")
end

step "Apply it, under full load"
say("the 14 bytes before heartbeat() and the 2 at its entry:")
say("before:%s", before)
apply()
local after = entry_bytes()
say("after: %s", after)
holds(before ~= after, "the entry now leads to the new function")

step "The hole is gone"
holds(not leaks(), "a claim that goes beyond the message is discarded")

step "Take it back"
local result = ulp.revert(p, fix)
show("revert", result)
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
