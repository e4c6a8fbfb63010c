int version_1(void) { return 1; }
