// What libthrower offers, its patches use, and the catcher looks at.
#pragma once

extern int marks_left; // weight of the marks destroyed since the last question

struct Mark {
  explicit Mark(int weight) : weight(weight) {}
  ~Mark() { marks_left += weight; }
  int weight;
};

void source(int n);
void through(int n);
void again(int n);
int quiet(int n);

// An exception class that the program knows only by this declaration.
struct Own {
  int value;
};
