-- timeout: 180
-- C++ methods are replaced by the names that people write: overloads, virtual, static and const ones, operators, constructors,
-- and the instance of a template.
local t = require "ulp.scenario"

local library = t.cc {kind = "library", language = "c++", as = "libmethods", code = [[
  #include <string>
  namespace shop {
  struct Till {
    Till(int start);
    virtual ~Till();
    virtual int total() const;
    int add(int coins);
    int add(const std::string &coins);
    int operator()(int factor) const;
    static int rate(double percent);
    int sum;
  };
  struct Discount : Till {
    using Till::Till;
    int total() const override;
  };
  template <class T, int N> T scaled(T value) { return value * N; }
  Till::Till(int start) : sum(start) {}
  Till::~Till() {}
  int Till::total() const { return sum; }
  int Till::add(int coins) { return sum += coins; }
  int Till::add(const std::string &coins) { return sum += (int)coins.size(); }
  int Till::operator()(int factor) const { return sum * factor; }
  int Till::rate(double percent) { return (int)(percent * 10); }
  int Discount::total() const { return sum - 1; }
  template int scaled<int, 3>(int);
  template long scaled<long, 4>(long);
  Till *make(bool discount, int start) { return discount ? new Discount(start) : new Till(start); }
  }
]]}
local class = [[
  #include <string>
  namespace shop {
  struct Till {
    Till(int start);
    virtual ~Till();
    virtual int total() const;
    int add(int coins);
    int add(const std::string &coins);
    int operator()(int factor) const;
    static int rate(double percent);
    int sum;
  };
  template <class T, int N> T scaled(T value);
  Till *make(bool discount, int start);
  }
]]
local program = t.cc {kind = "program", language = "c++", as = "methods", libraries = {library}, code = class .. [[
  #include <cstdio>
  using namespace shop;
  extern template int shop::scaled<int, 3>(int);
  extern template long shop::scaled<long, 4>(long);
  int main() {
    char line[80];
    for (std::puts("ready"); std::fflush(stdout), std::fgets(line, sizeof line, stdin);) {
      Till *plain = make(false, 10), *discount = make(true, 20);
      std::printf("total=%d,%d ", plain->total(), discount->total());
      std::printf("add=%d ", plain->add(5));
      std::printf("text=%d ", plain->add(std::string("seven..")));
      std::printf("call=%d rate=%d ", (*plain)(2), Till::rate(1.5));
      std::printf("scaled=%d,%ld.\n", scaled<int, 3>(7), scaled<long, 4>(7));
      delete plain;
      delete discount;
    }
  }
]]}
local code = class .. [[
  namespace fixed {
  using shop::Till;
  int total(const Till *till) { return till->sum + 1000; }
  int add(Till *till, int coins) { return till->sum += 100 * coins; }
  int add(Till *till, const std::string &coins) { return till->sum += 100 * (int)coins.size(); }
  int call(const Till *till, int factor) { return -till->sum * factor; }
  int rate(double percent) { return (int)(percent * 20); }
  int scaled(int value) { return value * 33; }
  }
]]
local old = "total=10,19 add=15 text=22 call=44 rate=15 scaled=21,28.\n"
local cases = {
  {{["shop::Till::total() const"] = "fixed::total"}, "total=1010,19 add=15 text=22 call=44 rate=15 scaled=21,28.\n"},
  {{["shop::Till::add(int)"] = "fixed::add(shop::Till*, int)"}, "total=10,19 add=510 text=517 call=1034 rate=15 scaled=21,28.\n"},
  {{["shop::Till::operator()"] = "fixed::call"}, "total=10,19 add=15 text=22 call=-44 rate=15 scaled=21,28.\n"},
  {{["shop::Till::rate"] = "fixed::rate"}, "total=10,19 add=15 text=22 call=44 rate=30 scaled=21,28.\n"},
  {{["shop::scaled<int, 3>"] = "fixed::scaled"}, "total=10,19 add=15 text=22 call=44 rate=15 scaled=231,28.\n"},
}
cases[#cases + 1] = {{}, "total=1010,19 add=510 text=1210 call=-2420 rate=30 scaled=231,28.\n"}
for index = 1, #cases - 1 do
  for name, new in pairs(cases[index][1]) do cases[#cases][1][name] = new end
end
cases[#cases][1]["_ZN4shop4Till3addERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"] =
  "fixed::add(shop::Till*, std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> > const&)"

local c <close> = t.target {program}
local function shows(expected, rejected) c:ask("?", expected, {reject = rejected}) end
for index, case in ipairs(cases) do
  local fix = t.cc {as = index .. ".so", target = library, language = "c++", code = code, units = case[1]}
  t.switches(c, fix, {old = old, new = case[2]}, shows)
end
