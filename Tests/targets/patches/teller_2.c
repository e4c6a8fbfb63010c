/* The program's private variable, reached through a pointer that is filled when the patch is loaded. */
int *secret_ref;
int tell_2(void) { return *secret_ref + 1000; }
int tell_3(void) { return 3; }
int whisper_2(void) { return 8; }
