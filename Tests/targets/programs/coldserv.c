/* lingerer, with a library that lingers in a cold part. */
#include "lingerer.c"
