/* Built once per form of entry. The neighbours on both sides show that nothing near the patched function is touched. */
int before(void) { return 10; }

int number(void) { return 1; }

int after(void) { return 11; }
