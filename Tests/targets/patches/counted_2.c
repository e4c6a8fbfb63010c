/* A variable of its own: a container that was used is not as new. */
static int calls;
int counted_2(void) { return ++calls; }
