/* optout.c: LIBPULP_DISABLE_ON_PATH, _USERS and _GROUPS. Runs once, in the constructor, and does nothing at all when
 * none of the three is set. May read /proc/self/exe, /etc/passwd and /etc/group; nothing else.
 *
 * Names are looked up in the two files only, never through NSS: getpwuid would load plug-ins and talk to daemons inside
 * a stranger's process before its main. When a pattern asks about a name that the files do not know, the wish to be left
 * alone wins: patching is disabled, a message says why, and `ulp set_patchable enable` or ulpsh lifts it.
 */
#define _GNU_SOURCE
#include "runtime.h"
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <unistd.h>

extern char **environ; /* not getenv: hosts such as bash bring their own */

/* Up to the character or the end. */
static size_t span(const char *text, char end) {
  size_t length = 0;
  while (text[length] && text[length] != end) length++;
  return length;
}

/* The value, when the entry is NAME=value. */
static const char *value_of(const char *entry, const char *name) {
  while (*name && *entry == *name) entry++, name++;
  return *name || *entry != '=' ? NULL : entry + 1;
}

/* Calls `matches` with each colon-separated pattern until one says yes. */
static bool any_pattern(const char *list, bool (*matches)(const char *pattern, void *context), void *context) {
  char pattern[PATH_MAX];
  while (*list) {
    size_t length = span(list, ':');
    if (length && length < sizeof pattern) {
      pulp_copy(pattern, list, length);
      pattern[length] = 0;
      if (matches(pattern, context)) return true;
    }
    list += length;
    if (*list) list++;
  }
  return false;
}

static bool matches_text(const char *pattern, void *text) { return !fnmatch(pattern, text, FNM_EXTMATCH); }

static bool path_is_listed(const char *list) {
  char path[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  if (length <= 0) return false;
  path[length] = 0;
  return any_pattern(list, matches_text, path);
}

struct identity {
  const char *file; /* of lines NAME:x:NUMBER:... */
  uint64_t number;
  bool looked_up, known;
  char name[256];
};

static bool parse_number(const char *text, size_t length, uint64_t *ret) {
  uint64_t value = 0;
  if (!length || length > 10) return false;
  for (size_t index = 0; index < length; index++) {
    if (text[index] < '0' || text[index] > '9') return false;
    value = value * 10 + (uint64_t)(text[index] - '0');
  }
  *ret = value;
  return true;
}

static bool line_names(struct identity *who, const char *line) {
  size_t name = span(line, ':');
  if (!line[name] || !name || name >= sizeof who->name) return false;
  const char *number = line + name + 1;
  uint64_t value;
  number += span(number, ':');
  if (!*number || !parse_number(number + 1, span(number + 1, ':'), &value) || value != who->number) return false;
  pulp_copy(who->name, line, name);
  who->name[name] = 0;
  return who->known = true;
}

static void look_up(struct identity *who) {
  char line[512], block[512];
  size_t length = 0;
  ssize_t size;
  who->looked_up = true;
  int file = open(who->file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (file < 0) return;
  while ((size = read(file, block, sizeof block)) > 0)
    for (ssize_t index = 0; index < size; index++) {
      if (block[index] != '\n') {
        if (length < sizeof line - 1) line[length++] = block[index];
        continue;
      }
      line[length] = 0;
      length = 0;
      if (line_names(who, line)) goto found;
    }
found:
  close(file);
}

static bool matches_identity(const char *pattern, void *context) {
  struct identity *who = context;
  uint64_t number;
  if (parse_number(pattern, pulp_length(pattern), &number)) return number == who->number;
  if (!who->looked_up) look_up(who);
  if (who->known) return !fnmatch(pattern, who->name, FNM_EXTMATCH);
  pulp_message("ulp: patching is disabled: a LIBPULP_DISABLE_ON pattern names users or groups, "
               "and this process's own name is not in /etc/passwd or /etc/group\n");
  return true;
}

static bool user_is_listed(const char *list) {
  struct identity user;
  pulp_zero(&user, sizeof user);
  user.file = "/etc/passwd";
  user.number = getuid();
  return any_pattern(list, matches_identity, &user);
}

static bool group_is_listed(const char *list) {
  struct identity group;
  pulp_zero(&group, sizeof group);
  group.file = "/etc/group";
  group.number = getgid();
  return any_pattern(list, matches_identity, &group);
}

static int32_t state_for(const char *entry) {
  const char *list;
  if ((list = value_of(entry, "LIBPULP_DISABLE_ON_PATH")) && path_is_listed(list)) return PULP_EUSRBLOCKED;
  if ((list = value_of(entry, "LIBPULP_DISABLE_ON_USERS")) && user_is_listed(list)) return PULP_EUSRBLOCKED;
  if ((list = value_of(entry, "LIBPULP_DISABLE_ON_GROUPS")) && group_is_listed(list)) return PULP_EUSRBLOCKED;
  return 0;
}

int32_t pulp_optout_state(void) {
  int32_t state = 0;
  for (char **entry = environ; !state && entry && *entry; entry++) {
    if ((*entry)[0] != 'L' || (*entry)[1] != 'I') continue;
    int saved = errno; /* the host's, should it be running already */
    state = state_for(*entry);
    errno = saved;
  }
  return state;
}
