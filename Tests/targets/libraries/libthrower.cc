// Functions that throw, that let exceptions pass, and that catch one and throw another.
#include "thrower.h"

#include <stdexcept>

int marks_left;

void source(int) { throw std::length_error("1"); }

// Two objects to be destroyed on the way, one call deeper than the other.
static void __attribute__((noinline)) inner(int n) {
  Mark mark(1);
  source(n);
}

void through(int n) {
  Mark mark(1);
  inner(n);
}

void again(int n) {
  Mark mark(1);
  try {
    through(n);
  } catch (const std::logic_error &e) {
    throw std::domain_error(e.what()[0] == '1' && !e.what()[1] ? "2" : "12");
  }
}

int quiet(int n) { return n; }
