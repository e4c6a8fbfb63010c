/* Statically linked: there is no loader that could bring in a patch. */
#include <stdio.h>

int main(void) {
  char word[64];
  setvbuf(stdout, NULL, _IONBF, 0);
  puts("ready");
  while (scanf("%63s", word) == 1) puts("still here");
  return 0;
}
