// Throws another exception than before, and one where there was none, of a type that is known to this file and the program.
#include "../libraries/thrower.h"

#include <stdexcept>
#include <ulp.h>

void source_throws(int) { throw std::invalid_argument("11"); }
int quiet_throws(int) {
  Mark mark(1);
  throw Own{13};
}

ULP_REPLACE(source, source_throws);
ULP_REPLACE(quiet, quiet_throws);
