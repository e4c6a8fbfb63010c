int version_5(void) { return 5; }
