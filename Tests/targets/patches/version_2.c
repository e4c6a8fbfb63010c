int version_2(void) { return 2; }
