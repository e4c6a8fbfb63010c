int hundreds_200(void) { return 200; }
