-- `patches` tells which bugs and vulnerabilities a patch is about, as long as its file is there, and never steers a terminal.
local t = require "ulp.scenario"
local ulp = require "ulp"
local json = require "dkjson"

local c <close> = t.target "numserv"
local fix = t.patch("dozens_13", {units = {
  "! security fix for BSC#1234567, jsc#PED-42", "dozen:dozens_13", "!cve-2026-31337 and bsc#1234567x",
  "! bsc# jsc#1 CVE-20 #7 \27[2J",
}})
local wanted = {"BSC#1234567", "jsc#PED-42", "cve-2026-31337", "bsc#1234567"}
t.eq(assert(ulp.container(fix)).labels, wanted)

local function patches(...)
  local tool <close> = t.ulpsh {"patches", "-p", tostring(c.pid), timeout = 20, ...}
  tool:expect_exit(0)
  return tool:drain()
end
t.ok(patches():find "no patches", "nothing before")
t.state(ulp.trigger(c.pid, fix), "done")
c:ask("dozen", "13\n", {reject = "12"})
t.eq(ulp.patches(c.pid)[1].labels, wanted)
local text = patches()
t.ok(text:find("BSC#1234567, jsc#PED-42, cve-2026-31337, bsc#1234567\n", 1, true), "the labels are shown: " .. text)
t.ok(not text:find "\27", "nothing steers the terminal")
t.eq(json.decode(patches "--json").patches[1].labels, wanted)

-- Another file under that name, or none: no labels rather than wrong ones.
t.write_file(fix .. ".other", t.read_file(t.patch("dozens_13", {as = "other", units = {"! bsc#999", "dozen:dozens_13"}})))
assert(os.rename(fix, fix .. ".aside"))
t.eq(ulp.patches(c.pid)[1].labels, {})
assert(os.rename(fix .. ".other", fix))
t.eq(ulp.patches(c.pid)[1].labels, {})
t.ok(not patches():find "#", "no label is shown")
assert(os.rename(fix .. ".aside", fix))
t.eq(ulp.patches(c.pid)[1].labels, wanted)
t.state(ulp.revert(c.pid, fix), "done")
c:ask("dozen", "12\n", {reject = "13"})
t.ok(patches():find "no patches", "nothing after")
