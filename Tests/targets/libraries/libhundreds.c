/* The other half of numserv's libraries. */
int hundred(void) { return 100; }
