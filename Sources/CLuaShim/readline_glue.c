#include "readline_glue.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <readline/history.h>
#include <readline/readline.h>

#include "linux_interrupt.h"

/* What is used of the library, by its own names. Variables are pointers to the library's. */
static struct {
  __typeof__(&readline) readline;
  __typeof__(&add_history) add_history;
  __typeof__(&read_history) read_history;
  __typeof__(&append_history) append_history;
  __typeof__(&stifle_history) stifle_history;
  __typeof__(&rl_replace_line) replace_line;
  __typeof__(&rl_check_signals) check_signals;
  __typeof__(&rl_attempted_completion_function) attempted_completion_function;
  __typeof__(&rl_getc_function) getc_function;
  __typeof__(&rl_readline_name) readline_name;
  __typeof__(&rl_line_buffer) line_buffer;
  __typeof__(&rl_catch_signals) catch_signals;
  __typeof__(&rl_attempted_completion_over) attempted_completion_over;
  __typeof__(&rl_completion_append_character) completion_append_character;
  __typeof__(&rl_completion_word_break_hook) completion_word_break_hook;
  __typeof__(&rl_point) point;
  __typeof__(&rl_completer_quote_characters) completer_quote_characters;
} rl;

static ul_completer completer;
static void *completer_context;
static int interrupted;

/* -- Completion -------------------------------------------------------------------------------------------------- */

struct ul_candidates {
  char **words; /* words[0] is what they have in common; NULL at the end */
  size_t count, capacity;
};

void ul_candidates_add(ul_candidates *candidates, const char *word, size_t length) {
  if (candidates->count + 3 > candidates->capacity) {
    size_t capacity = candidates->capacity * 2 + 16;
    char **words = realloc(candidates->words, capacity * sizeof *words);
    if (!words)
      return;
    candidates->words = words;
    candidates->capacity = capacity;
  }
  char *copy = strndup(word, length);
  if (copy)
    candidates->words[++candidates->count] = copy;
}

static size_t common_prefix(const struct ul_candidates *candidates) {
  size_t length = strlen(candidates->words[1]);
  for (size_t i = 2; i <= candidates->count; i++) {
    size_t same = 0;
    while (same < length && candidates->words[i][same] == candidates->words[1][same])
      same++;
    length = same;
  }
  return length;
}

static char **complete(const char *text, int start, int end) {
  struct ul_candidates candidates = {0};
  (void)text, (void)start;
  *rl.attempted_completion_over = 1;
  *rl.completion_append_character = '\0';
  if (completer(completer_context, *rl.line_buffer, (size_t)end, &candidates)) {
    *rl.attempted_completion_over = 0; /* readline goes on with file names */
    return NULL;
  }
  if (candidates.count == 0)
    return NULL;
  candidates.words[0] = strndup(candidates.words[1], common_prefix(&candidates));
  if (candidates.count == 1) {
    free(candidates.words[1]);
    candidates.count = 0;
  }
  candidates.words[candidates.count + 1] = NULL;
  return candidates.words;
}

/* What separates words: Lua's punctuation, but inside a string only what separates file names. */
static char *word_breaks(void) {
  const char *line = *rl.line_buffer;
  char quote = '\0';
  for (int i = 0; i < *rl.point; i++) {
    if (quote && line[i] == '\\' && i + 1 < *rl.point)
      i++;
    else if (quote ? line[i] == quote : line[i] == '"' || line[i] == '\'')
      quote = quote ? '\0' : line[i];
  }
  return quote ? " \t\n" : " \t\n\"'`~!@#$%^&*()-=+[{]}\\|;:,.<>/?";
}

/* -- Reading ----------------------------------------------------------------------------------------------------- */

/* Ctrl-C abandons the line: it is emptied and "entered", and the caller is told. The library's own handling would go on
 * reading the same line. */
static int read_key(FILE *stream) {
  for (;;) {
    if (ul_interrupt_take()) {
      interrupted = 1;
      rl.replace_line("", 1);
      (void)!write(STDOUT_FILENO, "^C", 2);
      return '\n';
    }
    unsigned char key;
    ssize_t count = read(fileno(stream), &key, 1);
    if (count == 1)
      return key;
    if (count == 0 || errno != EINTR)
      return EOF;
    rl.check_signals();
  }
}

static int resolve(void *library) {
  const struct { const char *name; void **slot; } symbols[] = {
      {"readline", (void **)&rl.readline},
      {"add_history", (void **)&rl.add_history},
      {"read_history", (void **)&rl.read_history},
      {"append_history", (void **)&rl.append_history},
      {"stifle_history", (void **)&rl.stifle_history},
      {"rl_replace_line", (void **)&rl.replace_line},
      {"rl_check_signals", (void **)&rl.check_signals},
      {"rl_attempted_completion_function", (void **)&rl.attempted_completion_function},
      {"rl_getc_function", (void **)&rl.getc_function},
      {"rl_readline_name", (void **)&rl.readline_name},
      {"rl_line_buffer", (void **)&rl.line_buffer},
      {"rl_catch_signals", (void **)&rl.catch_signals},
      {"rl_attempted_completion_over", (void **)&rl.attempted_completion_over},
      {"rl_completion_append_character", (void **)&rl.completion_append_character},
      {"rl_completion_word_break_hook", (void **)&rl.completion_word_break_hook},
      {"rl_point", (void **)&rl.point},
      {"rl_completer_quote_characters", (void **)&rl.completer_quote_characters},
  };
  for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++)
    if (!(*symbols[i].slot = dlsym(library, symbols[i].name)))
      return -1;
  return 0;
}

const char *ul_readline_open(ul_completer function, void *context) {
  void *library = dlopen("libreadline.so.8", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return "libreadline.so.8 cannot be loaded";
  if (resolve(library) < 0)
    return "libreadline.so.8 lacks a function that is needed";
  completer = function;
  completer_context = context;
  *rl.readline_name = "ulpsh";
  *rl.catch_signals = 0; /* SIGINT comes to our own handler and from there to read_key */
  *rl.getc_function = read_key;
  *rl.attempted_completion_function = complete;
  *rl.completion_word_break_hook = word_breaks;
  *rl.completer_quote_characters = "\"'"; /* file names in strings; paths contain breaks */
  return NULL;
}

char *ul_readline_read(const char *prompt, enum ul_line_end *end) {
  interrupted = 0;
  char *line = rl.readline(prompt);
  *end = interrupted ? UL_LINE_INTERRUPTED : line ? UL_LINE_ENTERED : UL_LINE_END_OF_INPUT;
  if (*end != UL_LINE_ENTERED) {
    free(line);
    line = NULL;
  }
  return line;
}

/* -- History ----------------------------------------------------------------------------------------------------- */

void ul_history_load(const char *path, int limit) {
  rl.stifle_history(limit);
  rl.read_history(path);
}

void ul_history_add(const char *line, const char *path) {
  rl.add_history(line);
  if (path)
    rl.append_history(1, path);
}
