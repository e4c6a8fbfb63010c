/* Reaches the library's variable and its hidden function through pointers that are filled when the patch is loaded. */
int *secret_ref;
int (*blend_ref)(int);
int peek_2(void) { return *secret_ref + 1000; }
int blended_2(void) { return blend_ref(*secret_ref) + 1000; }
