-- timeout: 60
-- Files that are no live patch, or a broken one.
local t = require "ulp.scenario"
local ulp = require "ulp"
local bad = t.shared "bad"

local c <close> = t.target "numserv"
local text = t.write_file(t.directory() .. "/text.so", "this is no ELF file\n")
bad.refuses(c, text, "elf.not_elf")
bad.refuses(c, t.directory() .. "/nowhere.so", "file.unreadable")
bad.refuses(c, t.path "dozens_13.so", "container.no_metadata")
-- A misspelt variable is nil. Nothing to do must not look like success.
for _, verb in ipairs {"trigger", "check", "revert"} do
  t.raises("usage", function() return ulp[verb](c.pid, nil) end)
end

--- Runs a program and waits for its good end.
local function run(command)
  local child <close> = t.spawn(command)
  child:expect_exit(0)
end

-- The metadata cut off at every length: each is refused, none crashes the reader.
local whole, section = t.patch "dozens_13", t.directory() .. "/section"
run {"objcopy", "--dump-section", ".ulp=" .. section, whole}
local metadata = t.read_file(section)
t.ok(#metadata > 40, "there is metadata to be cut")
for length = 1, #metadata - 1, 3 do
  t.write_file(section, metadata:sub(1, length))
  local cut = t.directory() .. "/cut.so"
  run {"objcopy", "--update-section", ".ulp=" .. section, whole, cut}
  local container, err = ulp.container(cut)
  t.ok(container == nil and err.code == "container.malformed", ("%d of %d bytes: %s"):format(length, #metadata, err))
end
bad.refuses(c, t.directory() .. "/cut.so", "container.malformed")
bad.still_works(c)
