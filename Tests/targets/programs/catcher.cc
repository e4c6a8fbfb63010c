// Calls a function of libthrower by name and tells what came out of it: a result or an exception, which was rethrown once on
// the way, and the marks that were left behind.
#include "../libraries/thrower.h"

#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>

static int call(const char *name) {
  if (!strcmp(name, "source")) source(5);
  if (!strcmp(name, "through")) through(5);
  if (!strcmp(name, "again")) again(5);
  return quiet(5);
}

static int call_and_rethrow(const char *name) {
  try {
    return call(name);
  } catch (...) {
    throw;
  }
}

int main() {
  char name[64];
  std::puts("ready");
  for (std::fflush(stdout); std::scanf("%63s", name) == 1; std::fflush(stdout)) {
    char how[64];
    marks_left = 0;
    try {
      std::snprintf(how, sizeof how, "returned %d", call_and_rethrow(name));
    } catch (const Own &own) {
      std::snprintf(how, sizeof how, "caught own %d", own.value);
    } catch (const std::length_error &e) {
      std::snprintf(how, sizeof how, "caught length_error %s", e.what());
    } catch (const std::invalid_argument &e) {
      std::snprintf(how, sizeof how, "caught invalid_argument %s", e.what());
    } catch (const std::domain_error &e) {
      std::snprintf(how, sizeof how, "caught domain_error %s", e.what());
    } catch (const std::range_error &e) {
      std::snprintf(how, sizeof how, "caught range_error %s", e.what());
    }
    std::printf("%s: %s, left %d, pending %d.\n", name, how, marks_left, std::uncaught_exceptions());
  }
}
