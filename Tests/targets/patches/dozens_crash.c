/* A patch whose constructor ends in a fatal signal (crash). */
#include <stdlib.h>
int *volatile nowhere;
int dozens_13(void) { return 13; }
__attribute__((constructor)) static void begin(void) { *nowhere = 1; }
