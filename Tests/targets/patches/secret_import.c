/* What cannot be: importing functions that the process does not export. */
int blend(int number);
int nonesuch(void);
int peek_2(void) { return nonesuch(); }
int blended_2(void) { return blend(21); }
