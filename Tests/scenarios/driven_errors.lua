-- timeout: 180
-- Every error number that the runtime can give to SUSE's tool, each provoked; nothing is left behind, and patching goes on.
local t = require "ulp.scenario"
local ulp = require "ulp"
local suse = t.shared "suse"

local c <close> = t.target "numserv"
local p <close> = assert(ulp.attach(c.pid))
local fix = t.patch "dozens_13"
local good = assert(ulp.container(fix))

local function bytes(hex) return (tostring(hex):gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end)) end
local p_library = assert(p.libs["libdozens.so.0"])
local build_id = bytes(p_library.build_id)
t.eq(#build_id, 20, "build ID of the target")

local before
local function refused(name, metadata)
  local found = type(metadata) == "string" and suse.raw(c, metadata) or metadata()
  t.ok(found.name == name, ("%s expected, found: %s"):format(name, found.text))
  t.ok(not found.text:find "instructions=[1-9]", name .. ": nothing is queued")
  t.eq(p:runtime():state(), "idle", name .. ": no operation is left")
  t.eq(p:runtime():universe(), 1, name .. ": the universe")
  t.eq(suse.list(c), "", name .. ": the list")
  t.eq(suse.run("symbols", c.pid).text:match "load_state=1 error=(%d+)", "0", name .. ": patching is not disabled")
  c:ask("dozen", "12\n", {reject = "13"})
  t.unchanged(c.pid, before)
end

c:ask("dozen", "12\n")
before = t.snapshot(c.pid)

-- Malformed metadata: 266, 269, 256
refused("ENOMETA", ("\0"):rep(64))
refused("EUNKNOWN", suse.wire {type = 7})
refused("EINVALIDULP", suse.wire {path = ""})
refused("EINVALIDULP", suse.wire {target = ""})
refused("EINVALIDULP", suse.wire {build_id = ("b"):rep(65)})
refused("EINVALIDULP", "\1" .. ("i"):rep(32) .. string.pack("<I4", 0xffffffff))
refused("EINVALIDULP", suse.wire {}:sub(1, -9) .. string.pack("<I4I4I4", 0xffffff, 0, 0))

-- The target: 257, 276
refused("ENOTARGETLIB", suse.wire {target = "libnowhere.so.0\0", path = fix .. "\0"})
refused("EBUILDID", suse.wire {path = fix .. "\0"})

local function to_target(part)
  part.build_id, part.path = build_id, (part.path or fix) .. "\0"
  part.id = part.id or bytes(good.build_id):sub(1, 16) .. ("d"):rep(16)
  return suse.wire(part)
end

-- Names that cannot be resolved: 270. Functions: 267, 278; the container: 287, 257; order: 273, 272
refused("ESTATE", to_target {units = {{"no_such_function", "dozens_13"}}})
refused("ESTATE", to_target {units = {{"dozen", "no_such_function"}}})
refused("ESTATE", to_target {units = {{"dozen", "dozens_13"}}, references = {{"dozen", "no_such_pointer", 0x1000}}})
refused("EINVALIDULP", to_target {units = {{"dozen", "dozens_13"}}, references = {{"dozen", "dozens_13", 1 << 40}}})
refused("EINVALIDULP", to_target {references = {{"dozen", "dozens_13", 0, 0, 2}}})
refused("ENOOLDFUNC", to_target {units = {{"dozen", "dozens_13", 0x7ffffff0}}})
refused("EDLOPEN", to_target {path = t.directory() .. "/nowhere.so", units = {{"dozen", "dozens_13"}}})
refused("EDLOPEN", to_target {path = "relative.so", units = {{"dozen", "dozens_13"}}})
refused("EBUILDID", to_target {id = ("x"):rep(32), units = {{"dozen", "dozens_13"}}})
refused("EDEPEND", to_target {units = {{"dozen", "dozens_13"}}, dependencies = {("a"):rep(32)}})
refused("ENOTAPPLIED", suse.wire {type = 2})
refused("ENOPATCHABLE", function()
  local libc = bytes(p.libs["libc.so.6"].build_id)
  return suse.raw(c, suse.wire {target = "libc.so.6\0", build_id = libc, path = fix .. "\0", units = {{"getpid", "dozens_13"}}})
end)

-- All or nothing: the second unit fails, the first stays as it is
refused("ESTATE", to_target {units = {{"dozen", "dozens_13"}, {"dozen", "missing"}}})
t.ok(suse.run("messages", c.pid).text:find("refused with error 270: missing", 1, true), "the name")
local unloadable = "Unable to load shared object " .. t.directory() .. "/nowhere.so"
t.ok(suse.run("messages", c.pid).text:find(unloadable, 1, true), "the reason")

-- 280, and applied patches stay while patching is disabled; 275
suse.run("disable", c.pid)
suse.expect("EUSRBLOCKED", "trigger", c.pid, fix)
suse.run("enable", c.pid)
suse.trigger(c, fix)
c:ask("dozen", "13\n", {reject = "12"})
suse.run("disable", c.pid)
suse.expect("EUSRBLOCKED", "--revert", "trigger", c.pid, fix)
t.ok(not suse.applied(c, fix), "check says no while disabled")
c:ask("dozen", "13\n", {reject = "12"})
suse.run("enable", c.pid)
suse.expect("EAPPLIED", "trigger", c.pid, fix)
suse.revert(c, fix)
c:ask("dozen", "12\n", {reject = "13"})
