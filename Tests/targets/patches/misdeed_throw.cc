/* A constructor that throws: nobody catches it, so std::terminate(3) aborts. */
#include <stdexcept>

extern "C" int dozens_13(void) { return 13; }

namespace {
struct Thrower {
  Thrower() { throw std::runtime_error("not ready"); }
} thrower;
}
