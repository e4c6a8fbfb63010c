int version_4(void) { return 4; }
