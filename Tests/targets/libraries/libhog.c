/* A lock that programs/hog.c never leaves to anybody else, for code that is loaded into it. */
#include <pthread.h>

pthread_mutex_t hog_lock = PTHREAD_MUTEX_INITIALIZER;

int hog(void) { return 12; }
