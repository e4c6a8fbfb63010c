/* The threads of programs/ward.c, for code that is loaded into it. */
#include <pthread.h>

pthread_t ward_threads[2];

int ward(void) { return 12; }
