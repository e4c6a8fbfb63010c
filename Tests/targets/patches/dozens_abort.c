/* A patch whose constructor ends in a fatal signal (abort). */
#include <stdlib.h>
int *volatile nowhere;
int dozens_13(void) { return 13; }
__attribute__((constructor)) static void begin(void) { abort(); }
