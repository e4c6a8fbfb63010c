/* Answers words with numbers: each of the two libraries knows one. */
#include <stdio.h>
#include <string.h>

int dozen(void);
int hundred(void);

int main(void) {
  char word[64];
  setvbuf(stdout, NULL, _IONBF, 0);
  puts("ready");
  while (scanf("%63s", word) == 1) {
    if (strcmp(word, "dozen") == 0)
      printf("%d\n", dozen());
    else if (strcmp(word, "hundred") == 0)
      printf("%d\n", hundred());
    else if (strcmp(word, "quit") == 0)
      break;
    else
      puts("unknown word");
  }
  puts("bye");
  return 0;
}
