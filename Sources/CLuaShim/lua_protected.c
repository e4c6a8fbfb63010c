/* Everything that may raise, behind a protected call. */
#include "lua_shim.h"

static const char traceback_key;

/* Keeps a traceback aside and hands the error value on as it is, whatever it is. */
static int message_handler(lua_State *L) {
  luaL_traceback(L, L, NULL, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &traceback_key);
  lua_settop(L, 1);
  return 1;
}

int ul_pcall(lua_State *L, int arguments, int results, int traceback) {
  ul_state *state = ul_state_of(L);
  int in_swift = state->in_swift;
  int handler = 0;
  if (traceback) {
    handler = lua_gettop(L) - arguments;
    lua_pushcfunction(L, message_handler);
    lua_insert(L, handler);
  }
  state->in_swift = 0;
  int status = lua_pcall(L, arguments, results, handler);
  state->in_swift = in_swift;
  if (traceback)
    lua_remove(L, handler);
  return status;
}

void ul_take_traceback(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &traceback_key);
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &traceback_key);
}

static int text_of(lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  return 1;
}

void ul_push_text(lua_State *L, int index) {
  index = lua_absindex(L, index);
  lua_checkstack(L, 8);
  lua_pushcfunction(L, text_of);
  lua_pushvalue(L, index);
  if (ul_pcall(L, 1, 1, 0) == LUA_OK)
    return;
  lua_pop(L, 1);
  lua_pushfstring(L, "(a %s value whose __tostring fails)", lua_typename(L, lua_type(L, index)));
}

static int get(lua_State *L) {
  lua_gettable(L, 1);
  return 1;
}

int ul_get(lua_State *L, int table) {
  table = lua_absindex(L, table);
  lua_checkstack(L, 8);
  lua_pushcfunction(L, get);
  lua_insert(L, -2);
  lua_pushvalue(L, table);
  lua_insert(L, -2);
  return ul_pcall(L, 2, 1, 0);
}

static int set(lua_State *L) {
  lua_settable(L, 1);
  return 0;
}

int ul_set(lua_State *L, int table) {
  table = lua_absindex(L, table);
  lua_checkstack(L, 8);
  lua_pushcfunction(L, set);
  lua_insert(L, -3);
  lua_pushvalue(L, table);
  lua_insert(L, -3);
  return ul_pcall(L, 3, 0, 0);
}

static int require_module(lua_State *L) {
  lua_getglobal(L, "require");
  lua_insert(L, 1);
  lua_call(L, 1, 1);
  return 1;
}

int ul_require(lua_State *L, const char *name) {
  lua_checkstack(L, 8);
  lua_pushcfunction(L, require_module);
  lua_pushstring(L, name);
  return ul_pcall(L, 1, 1, 1);
}

/* lua_next raises only for a key that is not in the table; the caller hands back the key that it got. */
int ul_next(lua_State *L, int table) { return lua_next(L, table); }

/* Reads __name raw: no metamethod can run. The name stays valid while the metatable is unchanged. */
const char *ul_type_name(lua_State *L, int index) {
  const char *name = NULL;
  index = lua_absindex(L, index);
  if (lua_getmetatable(L, index)) {
    lua_pushliteral(L, "__name");
    if (lua_rawget(L, -2) == LUA_TSTRING)
      name = lua_tostring(L, -1);
    lua_pop(L, 2);
  }
  if (lua_type(L, index) == LUA_TNONE)
    return "no value";
  return name ? name : luaL_typename(L, index);
}
