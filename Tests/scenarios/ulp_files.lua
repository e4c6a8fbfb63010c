-- timeout: 90
-- `ulp packer`, `dump`, `post`, `livepatchable` and `extract` print what SUSE's tool prints, by other readers' account of the
-- same files, and what they make works.
local t = require "ulp.scenario"
local named = t.shared "named"
local ulp = named.ulp

--- What a program prints.
local function output(...)
  local program <close> = t.spawn {timeout = 20, ...}
  program:expect_exit(0)
  return program:drain()
end

local function build_id(path) return output("/usr/bin/readelf", "-n", path):match "Build ID: (%x+)" end
local function address(path, name) return tonumber(output("/usr/bin/nm", path):match("(%x+) %a " .. name .. "\n"), 16) end
local stamp = "^%[%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d%] ulp: "

-- packer: a notice on standard error, nothing with -q; mistakes on standard output as compilers write them.
local fix = t.patch "secret_2"
local dsc, library = fix:gsub("%.so$", ".dsc"), t.path "libsecret.so.0"
t.ok(ulp(0, "packer", dsc):find(stamp .. "live patch '" .. named.literal(fix) .. "' packed successfully\n$"), "success is told")
t.eq(ulp(0, "packer", "-q", "-o", t.directory() .. "/nothing", dsc), "", "-q")
t.ok(not io.open(t.directory() .. "/nothing"), "-o is ignored")
local function mistake(text, place, ...)
  local path = t.write_file(t.directory() .. "/mistake.dsc", text)
  local said = ulp(1, "packer", path)
  t.ok(said:find(path .. ":" .. place .. ": error: ", 1, true) == 1, said)
  for _, line in ipairs {...} do t.ok(said:find("\n" .. line .. "\n", 1, true), said) end
  t.ok(said:find("%] ulp: error packing '" .. named.literal(path) .. "'\n$"), "and the failure on standard error: " .. said)
end
local head = fix .. "\n@" .. library .. "\n"
mistake("", "1:1")
mistake(fix .. "\npeek:peek_2\n", "2:1", "peek:peek_2", "^~~~")
mistake(head .. "@" .. library .. "\n", "3:1", "@" .. library, "^~~~")
mistake(head .. "! fine\npeek:\n", "4:6", "peek:", "     ^~~~")
mistake(head .. "nothere:peek_2\npeek:nothere\n", "3:1", "nothere:peek_2", "peek:nothere")
mistake(head .. "#secret\n", "3:8")
mistake(head .. "#a:b:X\n", "3:7")
mistake("/nonexistent.so\n@" .. library .. "\n", "1:1")
mistake(t.directory() .. "\n@" .. library .. "\n", "1:1")
mistake(fix .. "\n@" .. t.directory() .. "\n", "2:2")
t.ok(ulp(1, "packer", t.directory() .. "/none.dsc"):find "cannot read [^\n]*none%.dsc: No such file")

-- dump, line by line.
t.write_file(dsc, t.read_file(dsc) .. "! bsc#1 first\n! second\n")
ulp(0, "packer", "-q", dsc)
local id = assert(require "ulp".dump(fix)).id:sub(1, 40)
local function hex(name, path) return ("%x"):format(address(path or library, name)) end
local references, comments = {"static references: 2"}, {"* comments: ", " bsc#1 first", " second", ""}
for _, name in ipairs {"secret", "blend"} do
  table.move({"*** ref_name: " .. name .. "_ref", "*** target_offset: " .. hex(name),
    "*** patch_offset: " .. hex(name .. "_ref", fix), "*** tls variable: no", ""}, 1, 5, #references + 1, references)
end
local function lines(...)
  local all = {}
  for _, part in ipairs {...} do
    if type(part) ~= "table" then part = {part} end
    table.move(part, 1, #part, #all + 1, all)
  end
  return table.concat(all, "\n")
end
local header = {
  "patch id: " .. id, "so filename: " .. fix, "", "* build id: " .. build_id(library), "* name: libsecret.so.0",
}
t.eq(ulp(0, "dump", fix), lines(header, "* units: 2", "",
  "** old_fname: peek", "** new_fname: peek_2", "** old_faddr: 0x" .. hex "peek", "",
  "** old_fname: blended", "** new_fname: blended_2", "** old_faddr: 0x" .. hex "blended", "", references, comments))
t.eq(ulp(0, "dump", "-b", fix), lines(build_id(library), references, comments), "the build ID alone, and references")
t.eq(ulp(0, "--revert", "dump", fix), lines(header, "* units: 0", "", "static references: 0", comments), "what reverts")
t.eq(ulp(0, "dump", named.link("other.so", fix)), ulp(0, "dump", fix), "the real path")
t.ok(ulp(0, "dump", t.patch "tenant_2"):find "\n%*%*%* tls variable: yes\n", "thread-local")
for _, path in ipairs {"/nonexistent.so", "/etc/passwd", library, t.directory()} do
  t.ok(ulp(1, "dump", path):find(stamp .. "No live patch metadata in the container: "), path)
end

-- livepatchable: the verdict on standard error, and as exit status.
local function verdict(status, path, text)
  t.ok(ulp(status, "livepatchable", path):find(stamp .. named.literal(("file '%s' is %s"):format(path, text))), path)
  t.eq(ulp(status, "livepatchable", "-q", path), "", "-q")
end
verdict(0, library, "livepatchable.\n")
verdict(0, t.path "teller", "livepatchable.\n")
verdict(1, t.path "libnumber_unprepared.so.0", "not livepatchable: ")
verdict(1, fix, "not livepatchable: ")
verdict(1, "/etc/passwd", "not livepatchable: ")
verdict(1, "/nonexistent", "not livepatchable: ")

-- extract: json-c's layout, symbols in the order of the tables' ends, to out.json, a file, or standard output.
local text = ulp(0, "extract", "-o", "-", library)
local function symbols_by_readelf(option)
  local names = {}
  for line in output("/usr/bin/readelf", "-W", option, library):gmatch "[^\n]+" do
    local table_name = line:match "^Symbol table '(.*)'"
    names[0] = table_name or names[0]
    local value, size, name = line:match "^ *%d+: (%x+) +(%d+) +%S+ +%S+ +%S+ +%S+ (%S+)"
    if name and names[0] == (option == "--dyn-syms" and ".dynsym" or ".symtab") then
      table.insert(names, 1, {name:match "^[^@]+", tonumber(value, 16), tonumber(size)})
    end
  end
  names[0] = nil
  return names
end
local expected = symbols_by_readelf "--dyn-syms"
table.move(symbols_by_readelf "--syms", 1, 10000, #expected + 1, expected)
local found = {}
local entry = '\n      {\n        "name":"([^"]+)",\n        "offset":(%d+),\n        "size":(%d+),\n'
  .. '        "st_info":%d+,\n        "st_other":%d+\n      }'
for name, offset, size in text:gmatch(entry) do
  found[#found + 1] = {name, tonumber(offset), tonumber(size)}
end
t.ok(#found > 20, "symbols")
t.eq(found, expected, "symbols as another reader sees them")
local frame = '{\n  "library":{\n    "name":"libsecret.so.0",\n    "buildid":"' .. build_id(library) .. '",\n    "symbols":[\n'
  .. "      {"
t.eq({text:sub(1, #frame), text:sub(-19)}, {frame, "      }\n    ]\n  }\n}"}, "begin and end")
local decoded = require "dkjson".decode(text).library
for index, symbol in ipairs(decoded.symbols) do
  if symbol.name == "peek" then t.eq({symbol.st_info, symbol.st_other}, {18, 0}, "an exported function, entry " .. index) end
end
local here = t.directory() .. "/here"
t.spawn({"/bin/mkdir", here}):expect_exit(0)
named.run("ulp", 0, {"extract", library}, {cwd = here})
t.eq(t.read_file(here .. "/out.json"), text, "the default")
t.eq(ulp(0, "extract", library, "--output", here .. "/libsecret.json"), "")
t.eq(t.read_file(here .. "/libsecret.json"), text, "a file")
t.ok(ulp(1, "extract", "/etc/passwd", "-o", here .. "/none"):find(stamp), "not an ELF file")
t.ok(not io.open(here .. "/none"), "nothing is written then")

-- The JSON instead of the library: same metadata by description and by -t, and it works.
local with_json = t.patch("secret_2", {target = here .. "/libsecret.json", as = "json"})
t.eq(ulp(0, "dump", with_json):match "%* build id.*", ulp(0, "dump", t.patch("secret_2", {as = "plain"})):match "%* build id.*")
ulp(0, "packer", "-q", "-t", here .. "/libsecret.json", "-l", with_json, dsc)

-- post: the same function of the file with two-byte nops, quietly; and what cannot be.
local copy = t.write_file(t.directory() .. "/libsecret.so.0", t.read_file(library))
t.eq(ulp(0, "post", copy), "")
local merged = t.read_file(copy)
t.eq(#merged, #t.read_file(library))
t.ok(merged ~= t.read_file(library), "it is changed")
t.eq(build_id(copy), build_id(library))
t.eq(ulp(0, "post", copy), "", "again")
t.eq(t.read_file(copy), merged, "nothing more to do")
for _, path in ipairs {t.path "libnumber_unprepared.so.0", "/etc/passwd", "/nonexistent", t.directory()} do
  t.ok(ulp(1, "post", path):find(stamp), path)
end
