/* One function on which several versions are stacked. */
int version(void) { return 0; }
