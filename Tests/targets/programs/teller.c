/* A program whose own functions are patched; one of them and the variable are nobody else's business. */
#include <stdio.h>
#include <string.h>

static int secret = 40;

__attribute__((noipa)) int tell(void) { return secret; }
__attribute__((noipa)) static int whisper(void) { return 7; }

#ifdef THIRD_NOTE
/* Far from the others (notes.ld), so that it is in a segment of its own. */
__asm__(".pushsection .note.third, \"a\", @note\n\t.balign 8\n\t.long 6, 8, 1\n\t.asciz \"third\"\n\t.balign 8\n\t.quad 3\n\t.popsection");
#endif

int main(void) {
  char word[64];
  setvbuf(stdout, NULL, _IONBF, 0);
  puts("ready");
  while (scanf("%63s", word) == 1) {
    if (strcmp(word, "tell") == 0) printf("tell=%d\n", tell());
    else if (strcmp(word, "whisper") == 0) printf("whisper=%d\n", whisper());
    else if (strcmp(word, "grow") == 0) printf("grown=%d\n", ++secret);
    else if (strcmp(word, "quit") == 0) break;
    else puts("unknown word");
  }
  puts("bye");
  return 0;
}
