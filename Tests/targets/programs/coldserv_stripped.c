/* lingerer, with a library that lingers in a cold part and has lost its symbol table. */
#include "lingerer.c"
