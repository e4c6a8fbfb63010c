int number_3(void) { return 3; }
