--- Making live patches from source, and libraries and programs that can be patched.
---
---     local fix = assert(ulp.cc{source = "fix.c", target = "libdozen.so.0", units = {dozen = "dozen_fixed"}})
---     ulp.trigger(p, fix)
---
--- Instead of `units`, the source can say itself what it replaces:
---
---     #include <ulp.h>
---     int dozen_fixed(void) { return 13; }
---     ULP_REPLACE(dozen, dozen_fixed);
local M = {}

local core = require "ulp.core"
local compiler = require "ulp.authoring.compiler"
local err = require "ulp.error"
local units = require "ulp.authoring.units"

--- @class ulp.CcOptions
--- @field source? string|string[] path of a C or C++ file, or several that make one file
--- @field code? string the source itself, instead of a path
--- @field language? "c"|"c++" of `code` ("c")
--- @field kind? "patch"|"library"|"program" what is made ("patch")
--- @field target? string the target library or program of a patch
--- @field units? table<string,string>|string[] `{old = "new"}` or `{"old:new"}`, besides what the source says
--- @field references? table<string,string>|string[] variables of the target and pointers to them; `%` before a thread-local one
--- @field comment? string|string[] lines kept in the patch
--- @field undefined? "allow" also symbols that neither the patch nor the target's libraries define
--- @field output? string the file to be made: by default the first source's name with another ending, in the working
---   directory, or for `code` a file that goes when ulpsh ends
--- @field flags? string[] further arguments of the compiler
--- @field link? string[] further arguments of the linking compiler
--- @field libraries? string[] paths of libraries to link with; they are found again where they are now
--- @field cc? string|string[] the C compiler, also with arguments (`$CC`, or gcc)
--- @field cxx? string|string[] the C++ compiler (`$CXX`, or g++)
--- @field soname? string of a library: by default the output's file name
--- @field directory? string where intermediate files are written, and stay
--- @field keep? boolean intermediate files stay in a directory of their own, until ulpsh ends

local known = {}
for name in ([[source code language kind target units references comment undefined output flags link libraries cc cxx soname
  directory keep]]):gmatch "%S+" do known[name] = true end

local kinds = {
  -- No stb_gnu_unique: one such symbol, and the loader never unloads the file. No LTO: the notes of ulp.h would be lost.
  -- A function that the patch has a copy of is called in the patch, even if the target exports one of that name.
  patch = {
    compile = {"-fPIC", "-fno-lto"}, compile_cxx = {"-fno-gnu-unique"},
    link = {"-shared", "-Wl,--build-id=sha1", "-Wl,-Bsymbolic-functions"}, ending = ".so",
  },
  -- 14 bytes before every function and two at its entry are what a detour needs.
  library = {
    compile = {"-fPIC", "-fpatchable-function-entry=16,14"}, compile_cxx = {},
    link = {"-shared", "-Wl,--build-id=sha1"}, ending = ".so.0",
  },
  program = {
    compile = {"-fpatchable-function-entry=16,14"}, compile_cxx = {}, link = {"-pthread", "-Wl,--build-id=sha1"}, ending = "",
  },
}

local cxx_endings = {cc = true, cpp = true, cxx = true, ["c++"] = true, C = true}

local function usage(message) err.raise("usage", "ulp.cc: " .. message) end

local function list(value) return type(value) == "table" and value or {value} end

local function append(command, ...)
  for _, more in ipairs {...} do
    for _, word in ipairs(more) do command[#command + 1] = tostring(word) end
  end
  return command
end

--- A path that no compiler takes for an option.
local function path_word(path) return path:match "^[-@]" and "./" .. path or path end

-- What is asked for -----------------------------------------------------------------------------------------------------

local function checked(options)
  if type(options) ~= "table" then usage "expected a table of options" end
  for name in pairs(options) do
    if not known[name] then usage(("there is no option %s"):format(tostring(name))) end
  end
  local kind = kinds[options.kind or "patch"]
  if not kind then usage("kind is patch, library or program, not " .. tostring(options.kind)) end
  if (options.source == nil) == (options.code == nil) then usage "give either source or code" end
  if options.kind == nil or options.kind == "patch" then
    if type(options.target) ~= "string" then usage "a patch needs its target: the path of a library or program" end
  elseif options.target or options.units or options.references then
    usage "target, units and references are for patches"
  end
  return kind
end

--- The source files; inline code is written to one. Diagnostics and debug information know it under its name alone.
local function sources_of(options, directory)
  if not options.code then
    local paths = list(options.source)
    if #paths == 0 then usage "source is empty" end
    for _, path in ipairs(paths) do compiler.read(path) end
    return paths
  end
  local name = options.language == "c++" and "inline.cc" or "inline.c"
  return {compiler.write(directory .. "/" .. name, options.code)}
end

local function is_cxx(path) return cxx_endings[path:match "%.([^./]+)$"] or false end

local function output_of(options, kind, sources, directory)
  if options.output then return options.output end
  local name = sources[1]:match("[^/]*$"):gsub("%.[^.]*$", "") .. kind.ending
  return options.code and directory .. "/" .. name or name
end

--- The words of the compiler's command: what the caller gave, or the variables that make and its like know.
local function compiler_for(options, cxx)
  local given = options[cxx and "cxx" or "cc"]
  if given then return table.move(list(given), 1, #list(given), 1, {}) end
  local words = {}
  for word in (os.getenv(cxx and "CXX" or "CC") or ""):gmatch "%S+" do words[#words + 1] = word end
  return #words > 0 and words or {cxx and "g++" or "gcc"}
end

-- Steps -----------------------------------------------------------------------------------------------------------------

local function compile(options, kind, sources, directory)
  local objects, warnings, any_cxx = {}, {}, false
  for index, path in ipairs(sources) do
    local cxx = is_cxx(path)
    local object, command = ("%s/%d.o"):format(directory, index), compiler_for(options, cxx)
    local is_clang = table.concat(command, " "):find("clang", 1, true)
    append(command, {"-O2", "-g"}, kind.compile, cxx and not is_clang and kind.compile_cxx or {})
    append(command, {"-ffile-prefix-map=" .. directory .. "=.", "-I", core.stdlib_path .. "/include"}, options.flags or {})
    -- Behind the caller's flags: a patch compiled for link time has no notes.
    if kind == kinds.patch then append(command, {"-fno-lto"}) end
    warnings[index] = compiler.compile(append(command, {"-c", path_word(path), "-o", object}), directory)
    objects[index], any_cxx = object, any_cxx or cxx
  end
  return objects, table.concat(warnings), any_cxx
end

local function libraries_of(options)
  local words = {}
  for _, path in ipairs(options.libraries or {}) do
    local whole = assert(core.absolute_path(path))
    append(words, {whole, "-Xlinker", "-rpath", "-Xlinker", whole:match "^(.*)/"})
  end
  return words
end

local function link(options, kind, objects, any_cxx, output, directory)
  local command = append(compiler_for(options, any_cxx), kind.link)
  if kind == kinds.library then
    append(command, {"-Xlinker", "-soname", "-Xlinker", options.soname or options.final:match "[^/]*$"})
  end
  append(command, objects, libraries_of(options), options.link or {}, {"-o", path_word(output)})
  return compiler.compile(command, directory)
end

--- The notes of all objects, and those of the options.
local function notes_of(options, objects)
  local notes = {}
  for _, object in ipairs(objects) do table.move(units.notes(object), 1, 1e6, #notes + 1, notes) end
  for _, more in ipairs {units.given("units", options.units, "="), units.given("references", options.references, "#")} do
    for _, note in ipairs(more) do notes[#notes + 1] = note end
  end
  for _, text in ipairs(list(options.comment)) do notes[#notes + 1] = {kind = "!", old = text, new = ""} end
  return notes
end

--- The description's text. C++ names become symbols; plain C names are left to the packer.
local function description(notes, container, target, any_cxx)
  local symbols = {old = units.symbols(target), new = units.symbols(container)}
  local function symbol(side, name)
    if not any_cxx and not name:find "[^%w_.$@]" then return name end
    return symbols[side]:resolve(name)
  end
  local comments, lines, count = {}, {container, "@" .. target}, 0
  for _, note in ipairs(notes) do
    if note.kind == "!" then
      for line in note.old:gmatch "[^\n]+" do comments[#comments + 1] = "!" .. line end
    else
      local sign = note.kind == "#" and "#" or note.kind == "%" and "#%" or ""
      lines[#lines + 1] = ("%s%s:%s"):format(sign, symbol("old", note.old), symbol("new", note.new))
      count = count + 1
    end
  end
  if count == 0 then usage "nothing is replaced: give units, or write ULP_REPLACE(old, new) into the source" end
  return table.concat(table.move(lines, 1, #lines, #comments + 1, comments), "\n") .. "\n"
end

-- Every object of gcc refers to these if they are there.
local always_weak = {
  __cxa_finalize = true, __gmon_start__ = true, _ITM_deregisterTMCloneTable = true, _ITM_registerTMCloneTable = true,
}

local function is_program(path)
  local headers = compiler.run {"readelf", "-lW", "--", path}
  return headers:find("\n%s+INTERP%s") ~= nil
end

--- Has the linker say which symbols neither the patch nor the target and its libraries define. Raises `container.unresolved`.
local function check_undefined(options, container, objects, any_cxx, target, directory)
  if options.undefined == "allow" then return end
  local asked = false
  for _, name in ipairs(container.undefined) do asked = asked or not always_weak[name] end
  -- No linker links with a program.
  if not asked or is_program(target) then return end
  local command = append(compiler_for(options, any_cxx), {"-shared", "-Wl,-z,defs"}, objects, libraries_of(options))
  append(command, options.link or {}, {path_word(target), "-o", directory .. "/trial"})
  local linked, failure = pcall(compiler.compile, command, directory)
  core.remove_tree(directory .. "/trial")
  if linked then return end
  local names, seen = {}, {}
  for name in (failure.output or ""):gmatch "undefined reference to [`']([^\n]-)'" do
    if not seen[name] then names[#names + 1], seen[name] = name, true end
  end
  if #names == 0 then error(failure, 0) end
  local message = ("neither the patch nor %s and its libraries define %s"):format(target, table.concat(names, ", "))
  err.raise("container.unresolved", message, {
    undefined = names, output = failure.output,
    hint = "define them in the patch, link with their library, or say undefined = \"allow\" if the program has them",
  })
end

--- Packs the linked file and checks it as it will be used.
local function pack(options, objects, any_cxx, path, directory)
  local target = assert(core.absolute_path(options.target))
  local text = description(notes_of(options, objects), path, target, any_cxx)
  local container, failure = core.pack(compiler.write(directory .. "/patch.dsc", text))
  if not container then
    -- Nobody has written that description, so nobody can look up its lines.
    failure.message = failure.message:gsub("^.*/patch%.dsc:%d+:%d+: ", "")
    failure.path = target
    failure.line, failure.column, failure.source, failure.marker = nil, nil, nil, nil
    error(failure, 0)
  end
  check_undefined(options, container, objects, any_cxx, target, directory)
end

local function build(options, directory)
  local kind = checked(options)
  local sources = sources_of(options, directory)
  local output = output_of(options, kind, sources, directory)
  local request = setmetatable({final = output}, {__index = options})
  local objects, warnings, any_cxx = compile(request, kind, sources, directory)
  -- Made beside its place and renamed: who has the old file mapped keeps it, and a failure leaves it.
  local unfinished = ("%s.%x"):format(output, math.random(0))
  local done, failure = pcall(function()
    warnings = warnings .. link(request, kind, objects, any_cxx, unfinished, directory)
    if kind == kinds.patch then pack(request, objects, any_cxx, unfinished, directory) end
    local moved, message = os.rename(unfinished, output)
    if not moved then err.raise("file.unwritable", message, {path = output}) end
  end)
  if not done then
    os.remove(unfinished)
    error(failure, 0)
  end
  if kind == kinds.patch then return assert(core.container(output)), warnings end
  return output, warnings
end

--- Compiles C or C++ into a live patch, checks and packs it. With `kind = "library"` or `"program"` makes something that can
--- be patched.
---
--- Fails with `cc.failed` (`output` is the compiler's text; `path`, `line`, `column` the first mistake), `cc.missing`,
--- `container.unresolved`, and with what packing fails with. The old output is left as it was then.
---
---     ulp.cc{code = "int fixed(void) { return 13; }", target = "libdozen.so.0", units = {dozen = "fixed"}, output = "fix.so"}
--- @param options ulp.CcOptions
--- @return ulp.Container|string|nil made the container; the path of a library or program
--- @return ulp.Error? err
--- @return string? warnings what compiler and linker had to say although it went well
function M.cc(options)
  local given = type(options) == "table" and options.directory
  local directory = given or compiler.directory()
  local done, result, warnings = pcall(build, options, directory)
  local stays = given or done and (options.keep or options.code and not options.output)
  if not stays then compiler.remove(directory) end
  if done then return result, nil, warnings end
  if not err.is(result) or result.code == "usage" then error(result, 0) end
  return nil, result
end

return M
