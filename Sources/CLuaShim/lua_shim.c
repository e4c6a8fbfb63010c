#include "lua_shim.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* -- State ------------------------------------------------------------------------------------------------------- */

/* A failure may be raised as Lua's own memory error only while no Swift frame would be jumped over. */
static void *allocate(void *opaque, void *block, size_t old_size, size_t new_size) {
  ul_state *state = opaque;
  (void)old_size;
  if (new_size == 0) {
    free(block);
    return NULL;
  }
  void *moved = realloc(block, new_size);
  if (!moved && state->in_swift) {
    static const char text[] = "ulpsh: out of memory\n";
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    abort();
  }
  return moved;
}

static int panic(lua_State *L) {
  const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "error value is not a string";
  fprintf(stderr, "ulpsh: internal error: unprotected Lua error: %s\n", text);
  return 0; /* Lua aborts */
}

/* Unlike lua.c's, warnings are on from the start: an error in __gc shows up nowhere else. */
static void warn(void *opaque, const char *text, int continues) {
  ul_state *state = opaque;
  if (!state->warning_continues && !continues && text[0] == '@') {
    if (strcmp(text, "@off") == 0)
      state->warnings = 0;
    else if (strcmp(text, "@on") == 0)
      state->warnings = 1;
    return;
  }
  if (state->warnings)
    fprintf(stderr, "%s%s%s", state->warning_continues ? "" : "ulpsh: warning: ", text, continues ? "" : "\n");
  state->warning_continues = continues;
}

/* os.exit closes the state unless told otherwise, so that targets are let go before the program ends. */
static int os_exit(lua_State *L) {
  int status = EXIT_SUCCESS;
  if (lua_isboolean(L, 1))
    status = lua_toboolean(L, 1) ? EXIT_SUCCESS : EXIT_FAILURE;
  else
    status = (int)luaL_optinteger(L, 1, EXIT_SUCCESS);
  if (lua_isnoneornil(L, 2) || lua_toboolean(L, 2)) {
    fflush(NULL);
    ul_interrupt_detach();
    lua_close(L);
  }
  exit(status);
}

/* As system(3) but for one thing: that blocks SIGCHLD while it waits, and a seized thread would stop at its next signal until
 * the command ends (linux_shim.h, the attendant). */
static int run_command(const char *command) {
  const char *arguments[] = {"sh", "-c", command, NULL};
  struct sigaction ignore = {.sa_handler = SIG_IGN}, interrupt, quit;
  sigset_t none, defaults;
  posix_spawnattr_t attributes;
  pid_t child;
  int status = -1;
  sigaction(SIGINT, &ignore, &interrupt);
  sigaction(SIGQUIT, &ignore, &quit);
  sigemptyset(&none);
  sigemptyset(&defaults);
  if (interrupt.sa_handler != SIG_IGN) sigaddset(&defaults, SIGINT);
  if (quit.sa_handler != SIG_IGN) sigaddset(&defaults, SIGQUIT);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  int failure = posix_spawn(&child, "/bin/sh", NULL, &attributes, (char *const *)arguments, environ);
  posix_spawnattr_destroy(&attributes);
  if (!failure)
    while (waitpid(child, &status, 0) < 0)
      if (errno != EINTR) {
        failure = errno;
        break;
      }
  sigaction(SIGINT, &interrupt, NULL);
  sigaction(SIGQUIT, &quit, NULL);
  errno = failure;
  return failure ? -1 : status;
}

static int os_execute(lua_State *L) {
  const char *command = luaL_optstring(L, 1, NULL);
  if (!command) {
    lua_pushboolean(L, access("/bin/sh", X_OK) == 0);
    return 1;
  }
  fflush(NULL);
  errno = 0;
  return luaL_execresult(L, run_command(command));
}

static int open_libraries(lua_State *L) {
  lua_pushboolean(L, 1);
  lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
  luaL_openlibs(L);
  lua_getglobal(L, "os");
  lua_pushcfunction(L, os_exit);
  lua_setfield(L, -2, "exit");
  lua_pushcfunction(L, os_execute);
  lua_setfield(L, -2, "execute");
  if (luaL_dostring(L, "package.cpath = package.cpath:gsub(';?%./[^;]*', '')"))
    return lua_error(L);
  ul_open_coroutines(L);
  return 0;
}

lua_State *ul_new_state(void *context) {
  ul_state *state = calloc(1, sizeof *state);
  if (!state)
    return NULL;
  lua_State *L = lua_newstate(allocate, state);
  if (!L) {
    free(state);
    return NULL;
  }
  *(ul_state **)lua_getextraspace(L) = state;
  *state = (ul_state){.context = context, .main = L, .running = L, .in_swift = 1, .warnings = 1};
  lua_atpanic(L, panic);
  lua_setwarnf(L, warn, state);
  lua_pushcfunction(L, open_libraries);
  if (ul_pcall(L, 0, 0, 0) != LUA_OK)
    panic(L), abort();
  return L; /* `state` lives as long as the program: finalizers look at it until the very end of lua_close */
}

/* -- Functions and boxes ----------------------------------------------------------------------------------------- */

static int run(lua_State *L, ul_box *box) {
  ul_state *state = ul_state_of(L);
  int in_swift = state->in_swift;
  state->in_swift = 1;
  int results = box->body(L, box->object);
  state->in_swift = in_swift;
  return results >= 0 ? results : lua_error(L); /* the only longjmp: no Swift frame is live */
}

static int trampoline(lua_State *L) {
  ul_box *box = lua_touserdata(L, lua_upvalueindex(1));
  if (!box->object)
    return luaL_error(L, "the function was already finalized");
  /* Swift cannot raise, and takes a stack without room for its end: what it pushes at a time is asked for here. */
  luaL_checkstack(L, 256, "too many arguments");
  return run(L, box);
}

int ul_box_gc(lua_State *L) {
  ul_box *box = lua_touserdata(L, 1);
  if (!box || lua_rawlen(L, 1) != sizeof *box || !box->object)
    return 0;
  void *object = box->object;
  ul_state *state = ul_state_of(L);
  int in_swift = state->in_swift;
  box->object = NULL;
  state->live_boxes--;
  state->in_swift = 1;
  box->release(object);
  state->in_swift = in_swift;
  return 0;
}

static ul_box *new_box(lua_State *L, void *object, const void *tag, ul_body body, ul_release release) {
  ul_box *box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = (ul_box){.object = object, .tag = tag, .body = body, .release = release};
  ul_state_of(L)->live_boxes++;
  return box;
}

/* The metatable of functions and getters: they only need to be finalized. */
static void set_function_metatable(lua_State *L) {
  static const char key;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_createtable(L, 0, 2);
    lua_pushliteral(L, "__gc");
    lua_pushcfunction(L, ul_box_gc);
    lua_rawset(L, -3);
    lua_pushliteral(L, "__name");
    lua_pushliteral(L, "ulp.function");
    lua_rawset(L, -3);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
  }
  lua_setmetatable(L, -2);
}

static const char function_tag, getter_tag;

void ul_push_function(lua_State *L, ul_body body, void *object, ul_release release) {
  new_box(L, object, &function_tag, body, release);
  set_function_metatable(L);
  lua_pushcclosure(L, trampoline, 1);
}

void ul_push_getter(lua_State *L, ul_body body, void *getter, ul_release release) {
  new_box(L, getter, &getter_tag, body, release);
  set_function_metatable(L);
}

void ul_push_box(lua_State *L, void *object, const void *tag, ul_release release, int with_metatable) {
  new_box(L, object, tag, NULL, release);
  if (with_metatable) {
    lua_insert(L, -2);
    lua_setmetatable(L, -2);
  }
}

int ul_box_index(lua_State *L) {
  lua_settop(L, 2);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TUSERDATA) {
    ul_box *getter = ul_test_box(L, -1, &getter_tag);
    if (getter && getter->object) {
      lua_settop(L, 1); /* the member table keeps the getter alive */
      return run(L, getter);
    }
  }
  if (lua_isnil(L, -1) && lua_isfunction(L, lua_upvalueindex(2))) {
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_insert(L, 1);
    lua_settop(L, 3);
    lua_call(L, 2, 1);
  }
  return 1;
}

int ul_box_newindex(lua_State *L) {
  return luaL_error(L, "the members of %s cannot be assigned", ul_type_name(L, 1));
}

/* -- Error tables ------------------------------------------------------------------------------------------------ */

static void push_field_text(lua_State *L, int table, const char *name, const char *otherwise) {
  lua_pushstring(L, name);
  if (lua_rawget(L, table) != LUA_TSTRING) {
    lua_pop(L, 1);
    lua_pushstring(L, otherwise);
  }
}

/* "MESSAGE [CODE]" and, if there is one, a second line "hint: HINT". Works on whatever it is given. */
int ul_error_tostring(lua_State *L) {
  if (lua_type(L, 1) != LUA_TTABLE) {
    lua_pushliteral(L, "ulp.Error");
    return 1;
  }
  luaL_Buffer buffer;
  lua_settop(L, 1);
  push_field_text(L, 1, "message", "error without a message");
  push_field_text(L, 1, "code", "?");
  push_field_text(L, 1, "hint", "");
  luaL_buffinit(L, &buffer);
  lua_pushvalue(L, 2);
  luaL_addvalue(&buffer);
  luaL_addstring(&buffer, " [");
  lua_pushvalue(L, 3);
  luaL_addvalue(&buffer);
  luaL_addstring(&buffer, "]");
  if (lua_rawlen(L, 4) > 0) {
    luaL_addstring(&buffer, "\nhint: ");
    lua_pushvalue(L, 4);
    luaL_addvalue(&buffer);
  }
  luaL_pushresult(&buffer);
  return 1;
}

int ul_error_concat(lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  luaL_tolstring(L, 2, NULL);
  lua_concat(L, 2);
  return 1;
}
