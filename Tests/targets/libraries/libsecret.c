/* Private things of a library: a variable, a function that no one can import, and their users. */
static int secret = 40;

__attribute__((visibility("hidden"), noipa)) int blend(int number) { return 2 * number; }

int peek(void) { return secret; }
int grow(void) { return ++secret; }
int blended(void) { return blend(secret); }
