#include "misdeed.h"

/* Does to another patch of the same change what the file "swap" in the working directory says, while that is not loaded yet. */
static void copy(const char *from, const char *to) {
  char bytes[65536];
  int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_TRUNC);
  ssize_t size = read(in, bytes, sizeof bytes);
  if (size <= 0 || write(out, bytes, (size_t)size) != size) abort();
  close(in);
  close(out);
}

int hundreds_swap(void) { return 200; }

static void misdeed(void) {
  char word[16] = "";
  int file = open("swap", O_RDONLY);
  if (file < 0 || read(file, word, sizeof word - 1) <= 0) abort();
  close(file);
  if (!strcmp(word, "rename") && rename("other.so", "victim.so")) abort();
  if (!strcmp(word, "link") && (unlink("victim.so") || symlink("other.so", "victim.so"))) abort();
  if (!strcmp(word, "write")) copy("other.so", "victim.so");
  if (!strcmp(word, "touch")) copy("victim.copy", "victim.so");
}
