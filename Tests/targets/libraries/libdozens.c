/* Half of numserv's two libraries: a patch of this one must leave libhundreds as it is. */
#ifdef OTHER_BUILD
const char other_build[] = "same source, another build";
#endif

int dozen(void) { return 12; }

/* A neighbour that no patch names. */
int gross(void) { return 144; }
