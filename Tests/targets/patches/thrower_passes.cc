// Lets exceptions of the old and of the new thrower pass through new frames.
#include "../libraries/thrower.h"

#include <stdexcept>
#include <ulp.h>

static void __attribute__((noinline)) inner(int n) {
  Mark mark(10);
  source(n);
}

void through_passes(int n) {
  Mark mark(10);
  inner(n);
}

void again_passes(int n) {
  Mark mark(10);
  try {
    through(n);
  } catch (const std::logic_error &) {
    throw std::range_error("22");
  }
}

ULP_REPLACE(through, through_passes);
ULP_REPLACE(again, again_passes);
