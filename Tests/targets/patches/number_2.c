int number_2(void) { return 2; }
