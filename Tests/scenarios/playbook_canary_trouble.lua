-- timeout: 90
-- What can go wrong with a rollout: newcomers on the way, probes that fail, a patch that cannot be taken back at once, Ctrl-C
-- while it is. The operator is told the truth.
local t = require "ulp.scenario"
local ulp = require "ulp"
local json = require "dkjson"

local function start(...)
  return t.ulpsh {"run", "canary", "--json", "--watch", "0.2", "--interval", "0.05", timeout = 30, ...}
end
local function finish(tool, code)
  tool:expect_exit(code)
  local states, notes, summary = {}, {}, nil
  for line in tool:drain():gmatch "[^\n]+" do
    local entry = t.ok(json.decode(line), "a line of JSON: " .. line)
    if entry.type == "result" then states[#states + 1], notes[#notes + 1] = entry.state, entry.message or "" end
    if entry.type == "summary" then summary = entry end
  end
  return states, notes, summary
end
local function watching(tool) tool:expect('"type":"watch"[^\n]*\n', {pattern = true}) end

-- A library of its own name, so that without -p nobody else's process is meant.
local name = ("libfleet%d.so.0"):format(tonumber(t.read_file "/proc/self/stat":match "^%d+"))
local library = t.directory() .. "/" .. name
t.write_file(library, t.read_file(t.path "libnumber.so.0"))
local fix = t.patch("number_2", {target = library})
local function target() return t.target {"caller", library, timeout = 20} end
local first <close> = target()
local second <close> = target()
local function serve(c, number)
  c:ask("number", ("number=%d\n"):format(number), {reject = "number=" .. 3 - number})
  t.unharmed(c.pid)
end

-- By library; a process that is started meanwhile is found and patched, too.
do
  local tool <close> = start("--watch", "1", "--waves", "1,1", fix)
  watching(tool)
  local third <close> = target()
  serve(third, 1)
  t.eq(finish(tool, 0), {"patched", "patched", "patched"})
  for _, c in ipairs {first, second, third} do serve(c, 2) end
end
for _, c in ipairs {first, second} do t.state(ulp.revert(c.pid, fix), "done") end

-- Probes over the network: one that answers, and one where nobody is.
do
  local server <close> = t.spawn {"python3", "-u", "-c", [[
import http.server, socketserver
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200 if self.path == "/good" else 503); self.end_headers()
socketserver.TCPServer.allow_reuse_address = True
server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer)
print("port", server.server_address[1])
server.serve_forever()]], timeout = 20}
  local port = server:expect("port (%d+)\n", {pattern = true})
  local place = "127.0.0.1:" .. port
  local tool <close> = start("--http", "http://" .. place .. "/good", "--tcp", place, "-p", tostring(first.pid), fix)
  t.eq(finish(tool, 0), {"patched"})
  serve(first, 2)
  t.state(ulp.revert(first.pid, fix), "done")
  local bad <close> = start("--http", "http://" .. place .. "/bad", "-p", tostring(first.pid), fix)
  local states, notes = finish(bad, 1)
  t.eq(states, {"refused"})
  t.ok(notes[1]:find "503", "the probe's words: " .. notes[1])
  server:kill()
  local gone <close> = start("--tcp", place, "-p", tostring(first.pid), fix)
  t.eq(finish(gone, 1), {"refused"})
  serve(first, 1)
end

-- A probe that hangs is a failed one, and may fail once if that is allowed.
do
  local tool <close> = start("--command", "sleep 60", "--limit", "0.2", "-p", tostring(first.pid), fix)
  local states, notes = finish(tool, 1)
  t.eq(states, {"refused"})
  t.ok(notes[1]:find "no end within", notes[1])
  local rude <close> = start("--command", [[printf '\033[2J\377'; exit 3]], "-p", tostring(first.pid), fix)
  states, notes = finish(rude, 1)
  t.eq(states, {"refused"})
  t.ok(notes[1]:find("exit status 3, ?[2J?", 1, true), notes[1])
  local file = t.directory() .. "/count"
  t.write_file(file, "")
  local moody = ("echo >>%s; test $(wc -l <%s) != 2"):format(file, file)
  local patient <close> = start("--failures", "2", "--command", moody, "-p", tostring(first.pid), fix)
  t.eq(finish(patient, 0), {"patched"})
  serve(first, 2)
  t.state(ulp.revert(first.pid, fix), "done")
end

-- A thread stays inside the new function: it cannot be taken back in time, which is said, and needs attention.
local c <close> = t.target {"lingerer", timeout = 20}
local linger, pid = t.patch "linger_2", tostring(c.pid)
local function rollout(...)
  local is_well = ("not io.open %q"):format(t.directory() .. "/ill")
  local tool <close> = start("--watch", "60", "--health", is_well, "-p", pid, linger, ...)
  watching(tool)
  c:ask("enter", "entering\n")
  t.asleep(c.pid)
  t.write_file(t.directory() .. "/ill", "")
  return finish(tool, 5)
end
local states, notes, summary = rollout("--timeout", "2")
t.eq(states, {"stuck"})
-- The last attempt on a busy machine may not have come so far as to see the thread.
t.ok(notes[1]:find("patch.blocked", 1, true) or notes[1]:find("process.unstoppable", 1, true), notes[1])
t.eq({summary.state, summary.status}, {"incomplete", 5})
t.unharmed(c.pid)
c:ask("leave", "left=2\n", {reject = "left=1"})
t.state(ulp.revert(c.pid, linger), "done", "when the thread has left")
assert(os.remove(t.directory() .. "/ill"))

-- Ctrl-C, and again while it is being taken back: the playbook ends, the program is whole and patched.
do
  local tool <close> = start("--watch", "60", "--timeout", "60", "-p", pid, linger)
  watching(tool)
  c:ask("enter", "entering\n")
  t.asleep(c.pid)
  tool:signal "INT"
  tool:expect('"type":"failure"[^\n]*\n', {pattern = true})
  t.sleep(0.3)
  t.ok(tool:alive(), "it waits for the thread")
  tool:signal "INT"
  tool:expect_exit {signal = "INT"}
  t.unharmed(c.pid)
  c:ask("leave", "left=2\n", {reject = "left=1"})
  t.state(ulp.revert(c.pid, linger), "done")
  c:ask("enter", "entering\n")
  t.asleep(c.pid)
  c:ask("leave", "left=1\n", {reject = "left=2"})
end
