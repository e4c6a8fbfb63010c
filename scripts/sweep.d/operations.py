"""The operations of the sweep: how each begins, what the tool is told to do, and what the target may say afterwards.

A version is three digits: of mix, dozen and version, 0 the original. M, D, V1 and V2 are containers for them.
"""

import os
import shutil
import subprocess

PACKED = {"M": "mix_odd", "D": "dozens_13", "V1": "version_1", "V2": "version_2"}

# name: (version before, version after, what the tool does)
OPERATIONS = {
    "apply": ("000", "010", "ulp.trigger(p, D)"),
    "deliver": ("000", "010", 'ulp.trigger(p, D, {deliver = "memfd"})'),
    "revert": ("010", "000", "ulp.revert(p, D)"),
    "replace": ("001", "002", 'ulp.replace(p, "libversion.so.0", V2)'),
    "set": ("000", "111", "ulp.trigger(p, {M, D, V1})"),
    "unset": ("111", "000", "ulp.revert(p, {M, D, V1})"),
    "check": ("010", "010", "ulp.check(p, D)"),
    "call": ("000", "000", '{state = p:call("getpid") == p.pid and "done"}'),
    "abort": ("000", "000", """(function()
        local rt = assert(p:runtime())
        if rt:state() ~= "idle" then rt:recover() end
        rt:abort(rt:stage(assert(ulp.core.plan(p, {assert(ulp.container(D))}, {}))))
        return {state = "done"}
      end)()"""),
    "unload": ("010", "000", """(function()
        local rt = assert(p:runtime())
        if rt:state() ~= "idle" then rt:recover() end
        local id = assert(ulp.container(D)).id
        local plan = assert(ulp.core.plan(p, {}, #ulp.patches(p) > 0 and {id} or {}))
        if plan.empty then return {state = "already"} end
        local st <close> = rt:stage(plan)
        for _ = 1, 1000 do if p:switch(st, {}).switched then break end ulp.core.sleep(0.001) end
        rt:settle(st)
        rt:unload(st)
        return {state = "done"}
      end)()"""),
    "recover": (None, None, '(function() local rt = assert(p:runtime()) rt:recover() return {state = "done"} end)()'),
}

# Brings the target into a version, whatever was before.
SET_STATE = """
local function set_state(wanted)
  local sets = {["000"] = {}, ["010"] = {D}, ["001"] = {V1}, ["002"] = {V2}, ["111"] = {M, D, V1}}
  local list = {}
  for _, patch in ipairs(ulp.patches(p)) do if patch.applied then list[#list + 1] = patch.id end end
  local rt = assert(p:runtime())
  if rt:state() ~= "idle" then rt:recover() end
  if #list > 0 then ulp.revert(p, list) end
  if #sets[wanted] > 0 then ulp.trigger(p, sets[wanted]) end
end
"""


def pack(tool, targets, directory):
    """Packs the containers; returns their paths by name."""
    paths = {}
    for name, source in PACKED.items():
        with open(f"{targets}/{source}.dsc", encoding="utf-8") as file:
            lines = file.read().splitlines()
        container = f"{directory}/{source}.so"
        shutil.copy(f"{targets}/{lines[0]}", container)
        lines[0] = container
        lines[1] = "@" + os.path.join(targets, lines[1][1:])
        description = f"{directory}/{source}.dsc"
        with open(description, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        subprocess.run([tool, "pack", description], check=True, stdout=subprocess.DEVNULL)
        paths[name] = container
    return paths


def script(pid, containers, body):
    """A program for `ulpsh -e`."""
    names = " ".join(f"local {name} = {path!r}" for name, path in containers.items())
    return f"local p = assert(ulp.attach({pid})) {names}\n{body}"
