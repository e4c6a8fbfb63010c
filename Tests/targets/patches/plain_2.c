/* Nothing but code. */
int plain_2(void) { return 7; }
