/* Ctrl-C in running Lua code: the signal handler sets a hook, the hook raises at the next instruction.
 *
 * A hook belongs to one coroutine, so the state must know which one runs: coroutine.resume and .wrap are replaced by
 * versions that keep track. (lua.c does not, and cannot interrupt a loop inside a coroutine.) */
#include "linux_interrupt.h"
#include "lua_shim.h"

#include <stdatomic.h>

static lua_State *volatile attached;

void ul_interrupt_attach(lua_State *L) { attached = L; }
void ul_interrupt_detach(void) { attached = NULL; }

static void push_interrupted(lua_State *L) {
  static const char *const fields[][2] = {
      {"code", "script.interrupted"},
      {"message", "interrupted"},
      {"hint", "nothing stays stopped"},
  };
  lua_createtable(L, 0, 3);
  for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
    lua_pushstring(L, fields[i][0]);
    lua_pushstring(L, fields[i][1]);
    lua_rawset(L, -3);
  }
  luaL_setmetatable(L, "ulp.Error");
}

/* From the second Ctrl-C on the hook stays: code that catches errors in a loop must not keep the keyboard. It is a count
 * hook, not a call hook: a handle's __close, being no Lua code, still runs. */
static void interrupt_hook(lua_State *L, lua_Debug *activation) {
  (void)activation;
  int insistent = ul_interrupt_count() > 1;
  if (!insistent)
    lua_sethook(L, NULL, 0, 0);
  if (!ul_interrupt_take() && !insistent)
    return; /* a primitive has served it meanwhile */
  luaL_checkstack(L, 8, NULL);
  push_interrupted(L);
  lua_error(L);
}

void ul_interrupt_lua(void) {
  lua_State *L = attached;
  if (!L)
    return;
  ul_state *state = ul_state_of(L);
  lua_sethook(state->running, interrupt_hook, LUA_MASKCOUNT, 1);
  if (ul_interrupt_count() > 1)
    lua_sethook(state->main, interrupt_hook, LUA_MASKCOUNT, 1);
}

void ul_interrupt_clear(lua_State *L) {
  if (lua_gethook(L) == interrupt_hook)
    lua_sethook(L, NULL, 0, 0);
  ul_interrupt_reset();
}

/* -- coroutine.resume and coroutine.wrap ------------------------------------------------------------------------- */

/* An interrupt that came while another coroutine ran, and ended before its next instruction, is for this one. */
static void run(ul_state *state, lua_State *coroutine) {
  state->running = coroutine;
  atomic_signal_fence(memory_order_seq_cst); /* a signal from here on sets the hook where it belongs */
  if (ul_interrupt_requested())
    lua_sethook(coroutine, interrupt_hook, LUA_MASKCOUNT, 1);
}

/* Moves `arguments` values to `co`, runs it, moves the results back. Returns their count, or -1 with the error on top. */
static int resume(lua_State *L, lua_State *co, int arguments) {
  ul_state *state = ul_state_of(L);
  int results = 0;
  if (!lua_checkstack(co, arguments)) {
    lua_pushliteral(L, "too many arguments to resume");
    return -1;
  }
  lua_xmove(L, co, arguments);
  lua_State *resumer = state->running;
  run(state, co);
  int status = lua_resume(co, L, arguments, &results);
  run(state, resumer);
  if (status != LUA_OK && status != LUA_YIELD) {
    lua_xmove(co, L, 1);
    return -1;
  }
  if (!lua_checkstack(L, results + 1)) {
    lua_pop(co, results);
    lua_pushliteral(L, "too many results to resume");
    return -1;
  }
  lua_xmove(co, L, results);
  return results;
}

static int coroutine_resume(lua_State *L) {
  lua_State *co = lua_tothread(L, 1);
  luaL_argexpected(L, co, 1, "coroutine");
  int results = resume(L, co, lua_gettop(L) - 1);
  lua_pushboolean(L, results >= 0);
  lua_insert(L, results >= 0 ? -(results + 1) : -2);
  return results >= 0 ? results + 1 : 2;
}

static int wrapped(lua_State *L) {
  lua_State *co = lua_tothread(L, lua_upvalueindex(1));
  int results = resume(L, co, lua_gettop(L));
  if (results >= 0)
    return results;
  int status = lua_status(co);
  if (status != LUA_OK && status != LUA_YIELD) { /* failed inside: run its pending __close, which may change the error */
    lua_resetthread(co);
    lua_xmove(co, L, 1);
  }
  if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

static int coroutine_wrap(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_State *co = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  lua_pushcclosure(L, wrapped, 1);
  return 1;
}

void ul_open_coroutines(lua_State *L) {
  lua_getglobal(L, "coroutine");
  lua_pushcfunction(L, coroutine_resume);
  lua_setfield(L, -2, "resume");
  lua_pushcfunction(L, coroutine_wrap);
  lua_setfield(L, -2, "wrap");
  lua_pop(L, 1);
}
