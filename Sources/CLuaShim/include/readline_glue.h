/* GNU readline, loaded only when somebody types: a script does not pay for it.
 *
 * Readline's callbacks have no context argument and its state is global, so this file is where both are kept. One reader
 * per program. Nothing here calls Lua; the completer is a callback that must not jump. */
#pragma once

#include <stddef.h>

#pragma clang assume_nonnull begin

/* Collects the words that may replace the one before the cursor. */
typedef struct ul_candidates ul_candidates;
void ul_candidates_add(ul_candidates *candidates, const char *word, size_t length);

/* Fills `candidates` for the line up to the cursor. Returns 0, or 1 to complete file names instead. */
typedef int (*ul_completer)(void *context, const char *line, size_t length, ul_candidates *candidates);

/* Loads the library. NULL on success, else why not (static text). */
const char *_Nullable ul_readline_open(ul_completer completer, void *context);

enum ul_line_end { UL_LINE_ENTERED, UL_LINE_INTERRUPTED, UL_LINE_END_OF_INPUT };
/* Reads a line; the result is freed by the caller and is NULL unless `end` is UL_LINE_ENTERED. */
char *_Nullable ul_readline_read(const char *prompt, enum ul_line_end *end);

void ul_history_load(const char *path, int limit);
/* Adds a line and appends it to the file, if `path` is not NULL. */
void ul_history_add(const char *line, const char *_Nullable path);

#pragma clang assume_nonnull end
