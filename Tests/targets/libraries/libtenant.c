/* A variable of which every thread has its own. */
static __thread long mine;

/* Something in front of it, so that its offset in the block is not 0. */
__thread long front[3] = {1, 2, 3};

void tenant_set(long number) { mine = number; }
long tenant_get(void) { return mine; }
