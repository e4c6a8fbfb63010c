-- timeout: 120
-- Descriptions may call C++ functions and variables as people write them, where that means one; else the symbols are listed that
-- it may mean, and so it is with extracts and stripped libraries.
local t = require "ulp.scenario"
local ulp = require "ulp"

local library = t.cc {kind = "library", language = "c++", as = "libreadable.so.0", code = [[
  namespace shop {
  struct Till { int add(int coins); long add(long coins); int total() const; static int rate; };
  volatile int limit = 7;
  int Till::rate = 2;
  int Till::add(int coins) { return coins * rate + limit - 7; }
  long Till::add(long coins) { return coins * 3; }
  int Till::total() const { return 40; }
  template <class T, int N> __attribute__((noinline, noclone)) T scaled(T value) { __asm__ volatile(""); return value * N; }
  template int scaled<int, 3>(int);
  namespace { int __attribute__((noinline, noclone)) hidden(unsigned int value) { __asm__ volatile(""); return value + 1; } }
  }
  extern "C" int sums(void) {
    shop::Till till;
    return till.add(5) * 1000000 + (int)till.add(5L) * 10000 + till.total() * 100 + shop::scaled<int, 3>(4) + shop::hidden(6);
  }
]]}
local object = t.cc {target = library, language = "c++", as = "readable_2.so", units = {"sums:fixed::sums"}, code = [[
  namespace fixed {
  struct Till;
  int *limit;
  int sums() { return 1; }
  int add(Till *, int coins) { return coins * 2 + *limit - 7 + 1; }
  long add(Till *, long coins) { return coins * 3 + 1; }
  int total(const Till *) { return 41; }
  int scaled(int value) { return value * 3 + 1; }
  int hidden(unsigned int value) { return value + 2; }
  }
]]}
local description = t.directory() .. "/readable.dsc"
local function packed(lines, options)
  t.write_file(description, object .. "\n@" .. library .. "\n" .. table.concat(lines, "\n") .. "\n")
  return ulp.pack(description, options)
end

-- One name for each; blanks that mean nothing; mangled and readable names side by side.
local names = {
  "shop::Till::add(int):fixed::add(fixed::Till*, int)", "shop::Till::add( long ):_ZN5fixed3addEPNS_4TillEl",
  "shop::Till::total:fixed::total", "_ZN4shop6scaledIiLi3EEET_S1_:fixed::scaled(int)",
  "shop::(anonymous namespace)::hidden(unsigned int):fixed::hidden", "#shop::limit:fixed::limit",
}
local mangled = {
  {"_ZN4shop4Till3addEi", "_ZN5fixed3addEPNS_4TillEi"}, {"_ZN4shop4Till3addEl", "_ZN5fixed3addEPNS_4TillEl"},
  {"_ZNK4shop4Till5totalEv", "_ZN5fixed5totalEPKNS_4TillE"}, {"_ZN4shop6scaledIiLi3EEET_S1_", "_ZN5fixed6scaledEi"},
  {"_ZN4shop12_GLOBAL__N_16hiddenEj", "_ZN5fixed6hiddenEj"},
}
local function symbols(container)
  local found = {}
  for index, unit in ipairs(container.units) do found[index] = {unit.old_name, unit.new_name} end
  return found
end
local container = assert(packed(names))
t.eq(symbols(container), mangled, "the symbols that are meant")
local template = assert(packed {"shop::scaled<int, 3>:fixed::scaled"})
t.eq(symbols(template), {mangled[4]}, "a template without its parameters and result")

assert(packed(names))
local c <close> = t.target {"caller", library, timeout = 20}
local old, new = "sums=10154019\n", "sums=11164121\n"
t.switches(c, object, {old = old, new = new}, function(expected, rejected) c:ask("sums", expected, {reject = rejected}) end)

-- What may mean several, or none.
local function refused(code, line, column, lines)
  local bytes = t.read_file(object)
  local err = t.raises(code, function() return packed(lines) end)
  t.eq({err.line, err.column, t.read_file(object) == bytes}, {line, column, true}, err.message)
  return err
end
local unclear = refused("target.function_ambiguous", 3, 1, {"shop::Till::add:fixed::total"})
t.eq(unclear.candidates, {"_ZN4shop4Till3addEi", "_ZN4shop4Till3addEl"}, "candidates")
for _, name in ipairs(unclear.candidates) do t.ok(unclear.message:find(name, 1, true), unclear.message) end
t.ok(unclear.hint:find "parameters", unclear.hint)
unclear = refused("target.function_ambiguous", 3, 19, {"shop::Till::total:fixed::add"})
t.eq(#unclear.candidates, 2, "candidates in the container")
refused("target.function_missing", 3, 1, {"Till::total:fixed::total"}) -- a name begins at its beginning
refused("target.function_missing", 3, 1, {"shop::Till::tota:fixed::total"})
refused("target.function_missing", 3, 1, {"shop::Till::add(short):fixed::total"})
refused("target.function_missing", 3, 1, {"shop::limit:fixed::total"}) -- a variable
refused("container.contradiction", 3, 19, {"shop::Till::total:fixed::none"})
refused("container.duplicate", nil, nil, {"shop::Till::total:fixed::total", "_ZNK4shop4Till5totalEv:fixed::hidden"})
refused("description.syntax", 3, 18, {"shop::Till::total"})
refused("description.syntax", 3, 21, {"shop::Till::add(int) :fixed::total"})

-- An extract, and a library that has lost its symbol table: what they know.
local extract, stripped = t.directory() .. "/readable.json", t.directory() .. "/libreadable.so.0"
assert(ulp.extract(library, {output = extract}))
t.eq(symbols(assert(packed(names, {target = extract}))), mangled, "from an extract")
t.spawn({"/usr/bin/strip", "-o", stripped, library}):expect_exit(0)
local exported = {names[1], names[3], "#shop::Till::rate:fixed::limit"}
t.eq(symbols(assert(packed(exported, {target = stripped}))), {mangled[1], mangled[3]}, "from a stripped library")
t.write_file(description, object .. "\n@" .. stripped .. "\n" .. names[5] .. "\n")
t.raises("target.function_missing", function() return ulp.pack(description) end)

-- Names that would become gigabytes long are no names; others of the same library are.
local digits, parts, last = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", {"_Z1fP1a"}, "S0_"
for level = 1, 30 do
  parts[#parts + 1] = ("%s%s%sE"):format(level == 1 and "1bI" or "S1_I", last, last)
  last = ("S%s_"):format(digits:sub(level + 2, level + 2))
end
local hostile = t.cc {kind = "library", as = "libwide.so.0", code = ([[
  int wide(void) __asm__("%s");
  int wide(void) { return 1; }
  int plain(int x) __asm__("_ZN4shop5plainEi");
  int plain(int x) { return x; }
]]):format(table.concat(parts))}
local began = t.clock()
t.write_file(description, ("%s\n@%s\nshop::plain(int):fixed::hidden\n"):format(object, hostile))
t.eq(symbols(assert(ulp.pack(description))), {{"_ZN4shop5plainEi", "_ZN5fixed6hiddenEj"}})
t.write_file(description, ("%s\n@%s\nshop::none:fixed::hidden\n"):format(object, hostile))
t.raises("target.function_missing", function() return ulp.pack(description) end)
t.ok(t.clock() - began < 60, "and nothing takes for ever")
