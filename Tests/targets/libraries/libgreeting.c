/* A function whose result the caller may keep, and one whose replacement counts. */
const char *greeting(void) { return "one"; }
int counted(void) { return 0; }
