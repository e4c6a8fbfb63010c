/* Keeps the string that the library returned: "take" calls the library, "show" prints what was taken last, "counted" calls
 * the other function. */
#include <stdio.h>
#include <string.h>

const char *greeting(void);
int counted(void);

int main(void) {
  char word[64];
  const char *taken = "nothing";
  setvbuf(stdout, NULL, _IONBF, 0);
  puts("ready");
  while (scanf("%63s", word) == 1) {
    if (strcmp(word, "take") == 0) taken = greeting();
    if (strcmp(word, "take") == 0 || strcmp(word, "show") == 0) printf("%s=%s\n", word, taken);
    if (strcmp(word, "counted") == 0) printf("counted=%d\n", counted());
  }
  puts("bye");
  return 0;
}
