int version_3(void) { return 3; }
