-- timeout: 120
-- What works on files gives patches that work: dump and pack in a circle, metadata in files of its own, symbols as JSON,
-- merged nops; and metadata with altered bytes is refused or harmless.
local t = require "ulp.scenario"
local ulp = require "ulp"
local bad = t.shared "bad"
local directory = t.directory()

--- Runs a program and waits for its good end.
local function run(command)
  local child <close> = t.spawn(command)
  child:expect_exit(0)
end

local function section(file, name)
  local path = directory .. "/section"
  run {"objcopy", "--dump-section", name .. "=" .. path, file, directory .. "/copy"}
  return t.read_file(path)
end

--- Applies a patch of `dozen`, sees it work, and takes it back.
local function works(c, patch, what)
  local p <close> = assert(ulp.attach(c.pid))
  t.state(ulp.trigger(p, patch), "done", what)
  c:ask("dozen", "13\n", {reject = "12"})
  t.state(ulp.revert(p, patch), "done", what)
  c:ask("dozen", "12\n", {reject = "13"})
  t.unharmed(c.pid)
end

local c <close> = t.target "numserv"
local whole = t.patch "dozens_13"

-- dump --json, and pack of that: the same bytes in another copy of the shared object.
local json = directory .. "/dump.json"
t.write_file(json, require "ulp.render.json".line("dump", assert(ulp.dump(whole))))
local again = directory .. "/again.so"
t.write_file(again, t.read_file(t.path "dozens_13.so"))
assert(ulp.pack(json, {container = again}))
for _, name in ipairs {".ulp", ".ulp.rev"} do t.eq(section(again, name), section(whole, name), name) end
works(c, again, "packed from a dump")
local other = t.path "hundreds_200.so"
t.raises("container.contradiction", function() return ulp.pack(json, {container = other}) end)
for _, text in ipairs {"{", "{}", '{"id": 5}', '{"id": "00"} x', '{"id":' .. ("["):rep(100000)} do
  local path = t.write_file(directory .. "/bad.json", text)
  t.raises("json.malformed", function() return ulp.pack(path, {container = again}) end)
end

-- Metadata in files of its own.
local ulp_file = directory .. "/dozens.ulp"
local dsc = whole:gsub("%.so$", ".dsc")
assert(ulp.pack(dsc, {metadata = ulp_file}))
t.eq(assert(ulp.dump(ulp_file)).container, whole)
works(c, ulp_file, "named by its metadata file")
local reversed = assert(ulp.reverse(ulp_file))
t.eq(reversed.path, directory .. "/dozens.rev")
t.eq(assert(ulp.dump(reversed.path)).id, ulp.dump(whole).id)
bad.refuses(c, reversed.path, "container.no_metadata")

-- The symbols alone serve for packing.
local symbols = directory .. "/libdozens.so.0.json"
local extract = assert(ulp.extract(t.path "libdozens.so.0", {output = symbols}))
t.ok(#extract.symbols > 10, "symbols")
t.eq(t.read_file(symbols):sub(1, 43), '{\n  "library":{\n    "name":"libdozens.so.0"')
works(c, t.patch("dozens_13", {target = symbols, as = "from_json"}), "packed against JSON")
for _, text in ipairs {'{"library":5}', '{"library":{"name":"x","buildid":"zz","symbols":[]}}',
  '{"library":{"name":"x","buildid":"00","symbols":[{"name":"dozen","offset":-1,"size":1,"st_info":18,"st_other":0}]}}'} do
  t.write_file(symbols, text)
  t.raises("json.malformed", function() return ulp.pack(dsc, {target = symbols}) end)
end

-- Which functions can be patched.
local survey = assert(ulp.livepatchable(t.path "libdozens.so.0"))
t.ok(survey.livepatchable, "libdozens can be patched")
local found
for _, one in ipairs(survey.functions) do if one.name == "dozen" then found = one end end
t.ok(found and found.patchable and found.exported, "dozen can be patched")
t.ok(not assert(ulp.livepatchable(t.path "libnumber_unprepared.so.0")).livepatchable, "the unprepared one cannot")

-- Versions that no library has: all are named, and nothing is loaded.
t.write_file(directory .. "/stub.c", "int first_thing(void) { return 1; } int second_thing(void) { return 2; }\n")
t.write_file(directory .. "/stub.map", "V_9 { global: first_thing; second_thing; local: *; };\n")
t.write_file(directory .. "/user.c",
  "int first_thing(void), second_thing(void); int dozen_13(void) { return first_thing() + second_thing(); }\n")
local stub, user = directory .. "/libstub.so", directory .. "/user.so"
run {"gcc", "-shared", "-fPIC", "-Wl,-soname,libdozens.so.0", "-Wl,--version-script=" .. directory .. "/stub.map", "-o", stub,
  directory .. "/stub.c"}
run {"gcc", "-shared", "-fPIC", "-Wl,--build-id=sha1", "-o", user, directory .. "/user.c", stub}
local description = t.write_file(directory .. "/user.dsc", ("%s\n@%s\ndozen:dozen_13\n"):format(user, t.path "libdozens.so.0"))
assert(ulp.pack(description))
local said = bad.refuses(c, user, "container.unresolved")
for _, name in ipairs {"first_thing@V_9", "second_thing@V_9"} do
  t.ok(said.message:find(name, 1, true), ("%s is named: %s"):format(name, said.message))
end

-- Altered metadata, a sample of the bytes, against a live process: refused, or another id for the same patch.
local metadata = section(whole, ".ulp")
local p <close> = assert(ulp.attach(c.pid))
for place = 1, #metadata, 3 do
  local byte = metadata:byte(place) ~ 0x11
  t.write_file(directory .. "/section", metadata:sub(1, place - 1) .. string.char(byte) .. metadata:sub(place + 1))
  local altered = ("%s/altered%d.so"):format(directory, place)
  run {"objcopy", "--remove-section", ".ulp.rev", "--update-section", ".ulp=" .. directory .. "/section", whole, altered}
  local done, result = pcall(ulp.trigger, p, altered)
  if done and result.state == "done" then
    t.ok(place >= 2 and place <= 33, ("byte %d belongs to the id"):format(place))
    t.state(ulp.revert(p, altered), "done")
  else
    t.ok(type(result) == "table" and result.code, ("byte %d: %s"):format(place, tostring(result)))
  end
end
c:ask("dozen", "12\n", {reject = "13"})
t.unharmed(c.pid)

-- Merged nops: the same library by its build ID, and a process that has it.
local merged = directory .. "/libdozens.so.0"
t.write_file(merged, t.read_file(t.path "libdozens.so.0"))
local result = assert(ulp.post(merged))
t.ok(result.changed and #result.merged > 0 and #result.skipped == 0, "nops were merged")
t.ok(not assert(ulp.post(merged)).changed, "once")
t.eq(ulp.livepatchable(merged).build_id, survey.build_id)
t.raises("entry.not_prepared", function() return ulp.post(t.path "libnumber_unprepared.so.0") end)
local after <close> = t.target {"numserv", env = {LD_LIBRARY_PATH = directory}}
works(after, whole, "on the post-processed library")
bad.still_works(c)
