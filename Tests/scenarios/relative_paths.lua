-- Descriptions with relative paths: from the working directory, else from beside the description, through `..` and links; the
-- patch works from wherever it is then named.
local t = require "ulp.scenario"
local ulp = require "ulp"

local root = t.directory()
local function shell(command)
  local child <close> = t.spawn {"/bin/sh", "-ec", command, cwd = root}
  child:expect_exit(0)
end
shell(("mkdir -p patches libs far; cp %q patches/dozens_13.so; cp %q libs/; ln -s ../libs far/link"):format(
  t.path "dozens_13.so", t.path "libdozens.so.0"))

local c <close> = t.target "numserv"
local p <close> = assert(ulp.attach(c.pid))

--- Packs a description of these two paths, named by `path`, in a working directory; applies it by the third name.
local function packs(directory, path, container, target, named)
  local file = root .. "/" .. directory .. "/" .. path
  t.write_file(file, ("%s\n@%s\ndozen:dozens_13\n"):format(container, target))
  local tool <close> = t.ulpsh {"pack", path, cwd = root .. "/" .. directory, timeout = 20}
  tool:expect_exit(0)
  c:ask("dozen", "12\n", {reject = "13"})
  local trigger <close> = t.ulpsh {"trigger", "-p", tostring(c.pid), named, cwd = root .. "/patches", timeout = 20}
  trigger:expect_exit(0)
  c:ask("dozen", "13\n", {reject = "12"})
  t.eq(ulp.patches(p)[1].path, root .. "/patches/dozens_13.so", "the path by which the program has it")
  t.state(ulp.revert(p, root .. "/patches/dozens_13.so"), "done")
  c:ask("dozen", "12\n", {reject = "13"})
  os.remove(file)
end
packs("patches", "fix.dsc", "dozens_13.so", "../libs/libdozens.so.0", "dozens_13.so")
packs("patches", "fix.dsc", "./dozens_13.so", "./../libs/libdozens.so.0", "./dozens_13.so")
-- Not from the working directory, but from beside the description.
packs("far", "../patches/fix.dsc", "dozens_13.so", "../libs/libdozens.so.0", "../patches/../patches/dozens_13.so")
packs(".", "patches/fix.dsc", "dozens_13.so", "../libs/libdozens.so.0", "dozens_13.so")
-- From the working directory, although something of that name is beside the description.
packs(".", "patches/fix.dsc", "patches/dozens_13.so", "libs/libdozens.so.0", "dozens_13.so")
packs(".", "fix.dsc", root .. "/patches/dozens_13.so", "far/link/libdozens.so.0", root .. "/patches/dozens_13.so")
t.unharmed(c.pid)

-- Neither here nor there: the line and the path are named.
t.write_file(root .. "/patches/fix.dsc", "dozens_13.so\n@../nowhere/libdozens.so.0\ndozen:dozens_13\n")
local err = t.raises("file.unreadable", function() return ulp.pack(root .. "/patches/fix.dsc") end)
t.ok(err.message:find("fix.dsc:2:", 1, true) and err.message:find("libdozens.so.0", 1, true), err.message)
