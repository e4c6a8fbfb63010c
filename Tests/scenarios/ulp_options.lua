-- timeout: 90
-- Options of `ulp` are taken as argp(3) takes them: in any order, joined, cut short, behind `--`, for every command; a mistake
-- ends with 64 and a text on standard error, and help with 0.
local t = require "ulp.scenario"
local named = t.shared "named"
local ulp = named.ulp

local c <close> = t.target "numserv"
local fix, pid = t.patch "dozens_13", tostring(c.pid)
local dsc = fix:gsub("%.so$", ".dsc")

local function serves(dozen) c:ask("dozen", dozen .. "\n", {reject = dozen == 12 and "13" or "12"}) end

-- Every way to say the same.
local applied = ("  numserv (pid: %d): SUCCESS %s\nulp: Processes patched: 1, Skipped: 0, Failed: 0.\n"):format(c.pid, fix)
for _, words in ipairs {
  {"trigger", "-p", pid, fix}, {"trigger", "-p" .. pid, fix}, {"trigger", "--process", pid, fix},
  {"trigger", "--process=" .. pid, fix},
  {"trigger", fix, "--proc", pid}, {"-p", pid, "trigger", fix}, {"--pro=" .. pid, "trigger", "--", fix},
  {"trigger", fix, "-r", "3", "-cp", pid}, {"-r3", "--timeo", "20", "trigger", "-p", pid, "--color=no", fix},
  {"trigger", fix, "--disable-threading", "--ret=2", "--recu", "--root=", "-p", pid},
  {"--color", "no", "-p" .. pid, "trigger", fix},
  {"trigger", "--timeout", ("9"):rep(30), "-r", ("9"):rep(30), "-p", pid, fix},
  {"-p", "1", "trigger", fix, "-p", pid, "--check-s"},
} do
  local what = table.concat(words, " ")
  serves(12)
  t.eq(named.run("ulp", 0, words), applied, what)
  serves(13)
  ulp(1, "-q", "check", "-p", pid, fix)
  ulp(0, "trigger", "-qp" .. pid, "--revert", fix)
end
serves(12)
ulp(0, "check", "-qp", pid, "--", fix)

-- Which words are values depends on the command, also when it comes after them; a name of a command may be a value.
ulp(0, "-qt", t.path "libdozens.so.0", "packer", dsc)
ulp(0, "--t", t.path "libdozens.so.0", "packer", "-q", dsc)
ulp(0, "-p", "patches", "patches")
ulp(0, "livepatchable", "-q", "--", t.path "libdozens.so.0")
-- What belongs to other commands is taken, told, and without effect.
t.ok(ulp(0, "dump", "--color=no", "-r", "5", fix):find "ulp: option '%-%-color' means nothing to 'dump'\n", "told")
t.ok(not ulp(0, "livepatchable", "-q", "--revert", t.path "libdozens.so.0"):find "means", "not with -q")

-- Mistakes: 64, and what is wrong in the C library's words.
for mistake, words in pairs {
  ["a command is missing"] = {}, ["invalid command 'frob'"] = {"frob", fix},
  ["unrecognized option '--frob'"] = {"trigger", "--frob"},
  ["unrecognized option '--frob=1'"] = {"--frob=1", "patches"}, ["invalid option -- 'Z'"] = {"patches", "-vZ"},
  ["option '--rev' is ambiguous; possibilities: '--revert' '--revert-all'"] = {"trigger", "--rev", fix},
  ["option '--ver' is ambiguous; possibilities: '--verbose' '--version'"] = {"patches", "--ver"},
  ["option '--revert' doesn't allow an argument"] = {"trigger", "--revert=yes", fix},
  ["option '--revert-all' requires an argument"] = {"trigger", "--revert-all"},
  ["option requires an argument -- 'p'"] = {"patches", "-p"}, ["too many arguments"] = {"trigger", fix, fix},
  ["options -v and -q exclude each other"] = {"patches", "-vq"}, ["a container is missing"] = {"trigger", "-p", pid},
  ["options --revert and --revert-all exclude each other"] = {"trigger", "--revert", "--revert-all=x", fix},
  ["option '--color' takes yes, no or auto"] = {"trigger", "--color=blue", fix},
  ["option '--retries' takes a number"] = {"trigger", "-r", "many", fix},
  ["option '--timeout' takes a number"] = {"trigger", "--timeout=x", fix}, ["option -p is missing"] = {"check", fix},
  ["option '--revert-all' takes the name of a library"] = {"trigger", "-p", pid, "--revert-all=", fix},
  ["option -p takes the number of a process"] = {"messages", "-p", "numserv"},
  ["a description is missing"] = {"packer"}, ["a file is missing"] = {"post"},
} do
  local said = named.run("ulp", 64, words)
  t.ok(said:find("ulp: " .. mistake .. "\n", 1, true), ("%s: %s"):format(mistake, said))
  t.ok(said:find("\nTry `ulp[%w_ ]* %-%-help' or `ulp %-%-usage' for more information%.\n$"), said)
end
for _, command in ipairs {"patches", "messages"} do ulp(64, command, "-p", pid, fix) end
-- The words of no command, and `-u` of trigger: the number of ENOSYS.
t.ok(ulp(38, "trigger", "-u", "root", fix):find "%-u is not supported")

-- Help, for all and for each command: to standard output, and whatever follows is not read.
for _, command in ipairs {
  "trigger", "patches", "check", "dump", "packer", "post", "messages", "livepatchable", "set_patchable", "extract",
} do
  t.ok(ulp(0, "--help"):find("\n  " .. command .. " +%u"), command .. " is in the list")
  for _, words in ipairs {{command, "--help"}, {command, "-?"}, {"-?", command}, {command, "--he", "--frob"}, {command, "-?Z"}} do
    t.ok(named.run("ulp", 0, words):find("^Usage: ulp " .. command .. " %[OPTION%.%.%.%][^\n]*\n"), command .. "'s help")
  end
  local usage = ulp(0, command, "--usage")
  t.ok(usage:find("^Usage: ulp " .. command .. " ") and usage:find("[--version]", 1, true), usage)
  for line in usage:gmatch "[^\n]+" do t.ok(#line < 80, "a line of a terminal") end
end
local version = ulp(0, "--version")
t.ok(version:find "^libpulp %d+%.%d+%.%d+\n$", version)
t.eq({ulp(0, "-V"), ulp(0, "patches", "--vers"), ulp(0, "-V", "--frob")}, {version, version, version})

-- Numbers that no process can have.
for _, number in ipairs {"0", "4294967297", "99999999999999999999999"} do
  t.ok(ulp(1, "patches", "-p", number):find "error gathering target process information: No such process\n", number)
end
serves(12)
t.unharmed(c.pid)
