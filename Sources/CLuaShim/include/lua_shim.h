/* What Swift cannot do with Lua's C API: raise errors, expand macros, survive a longjmp.
 *
 * A Lua error leaves by longjmp, which must not cross a Swift frame. So a Swift body *returns* failure to a C trampoline,
 * and C raises when no Swift frame is left. In the other direction everything that may raise runs below `ul_pcall` or in
 * one of the protected helpers. Swift calls directly only what the manual marks `-` (never raises) or `m` (raises only
 * for want of memory): the allocator ends the program rather than let a memory error cross Swift. */
#pragma once

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stddef.h>
#include <stdint.h>

#pragma clang assume_nonnull begin

/* A Swift body: >= 0 results on top of the stack, or -1 with the error value on top. */
typedef int (*ul_body)(lua_State *L, void *object);
typedef void (*ul_release)(void *object);

/* One per Lua state, shared by all its coroutines. */
typedef struct ul_state {
  void *_Nullable context;                  /* the Swift LuaState, not owned */
  lua_State *main;
  lua_State *volatile running;      /* the coroutine that runs now; read by the SIGINT handler */
  int in_swift;                     /* a Swift frame is live above the last pcall: a memory error must not be raised */
  int warnings;                     /* warn() prints */
  int warning_continues;
  size_t live_boxes;                /* Swift objects held by Lua */
} ul_state;

/* The userdata that holds a Swift object. `object` is NULL once it has been released. */
typedef struct ul_box {
  void *_Nullable object;
  const void *_Nullable tag;                  /* identity of the Swift type, compared instead of metatables */
  ul_body _Nullable body;                   /* functions and getters: what to call */
  ul_release release;
} ul_box;

/* -- State ------------------------------------------------------------------------------------------------------- */

/* A new state with its libraries, or NULL. Environment variables of Lua are ignored; the search paths are left empty. */
lua_State *_Nullable ul_new_state(void *context);
/* The extra space of a state is copied to every coroutine of it. */
static inline ul_state *ul_state_of(lua_State *L) { return *(ul_state **)lua_getextraspace(L); }

/* -- Functions and boxes ----------------------------------------------------------------------------------------- */

/* Pushes a function that runs `body(L, object)`. Takes over one reference to `object`. */
void ul_push_function(lua_State *L, ul_body body, void *object, ul_release release);
/* Pushes a userdata that holds `object` (one reference is taken over); no metatable yet unless the value on top is one:
 * pops a metatable and sets it when `with_metatable` is not 0. */
void ul_push_box(lua_State *L, void *object, const void *tag, ul_release release, int with_metatable);
/* Pushes the userdata for a member table: reading the member calls `body(L, getter)` with the owner at index 1. */
void ul_push_getter(lua_State *L, ul_body body, void *getter, ul_release release);
/* The box at `index` if it holds a live object of type `tag`; else NULL. */
static inline ul_box *_Nullable ul_test_box(lua_State *L, int index, const void *tag) {
  if (lua_type(L, index) != LUA_TUSERDATA || lua_rawlen(L, index) != sizeof(ul_box))
    return NULL;
  ul_box *box = (ul_box *)lua_touserdata(L, index);
  return box->tag == tag ? box : NULL;
}
/* Metamethods written in C, for the metatable of boxes. */
int ul_box_gc(lua_State *_Nullable L);
int ul_box_index(lua_State *_Nullable L);     /* upvalue 1: members; upvalue 2: nil or a function (object, key) for the others */
int ul_box_newindex(lua_State *_Nullable L);
int ul_error_tostring(lua_State *_Nullable L);
int ul_error_concat(lua_State *_Nullable L);

/* -- Protected work: nothing here raises ------------------------------------------------------------------------- */

/* lua_pcall. With `traceback` the handler keeps one for ul_take_traceback; the error value is never changed. */
int ul_pcall(lua_State *L, int arguments, int results, int traceback);
/* Pushes the traceback of the last failed ul_pcall (a string) or nil. */
void ul_take_traceback(lua_State *L);
/* Pushes the text of the value at `index` as tostring() would; a substitute when its __tostring fails. */
void ul_push_text(lua_State *L, int index);
/* t[k] with metamethods; k is on top and is replaced by the value or the error. Returns a Lua status. */
int ul_get(lua_State *L, int table);
/* t[k] = v with metamethods; pops both, pushes an error if it fails. Returns a Lua status. */
int ul_set(lua_State *L, int table);
/* Calls require(name): pushes the module or the error. Returns a Lua status. */
int ul_require(lua_State *L, const char *name);
/* lua_next for a table that is not changed meanwhile. */
int ul_next(lua_State *L, int table);

/* -- Conversions ------------------------------------------------------------------------------------------------- */

/* 0 and the integer; 1: not a number; 2: a number without integer representation. Strings are not converted. */
static inline int ul_integer(lua_State *L, int index, int64_t *value) {
  int is_integer = 0;
  if (lua_type(L, index) != LUA_TNUMBER)
    return 1;
  *value = lua_tointegerx(L, index, &is_integer);
  return is_integer ? 0 : 2;
}
/* The bytes of a string (never converts a number), or NULL. */
static inline const char *_Nullable ul_bytes(lua_State *L, int index, size_t *_Nullable length) {
  return lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, length) : NULL;
}
static inline void ul_pop(lua_State *L, int count) { lua_settop(L, -count - 1); }
static inline void ul_new_table(lua_State *L) { lua_createtable(L, 0, 0); }
static inline int ul_upvalue(int index) { return lua_upvalueindex(index); }
static inline int ul_registry(void) { return LUA_REGISTRYINDEX; }
static inline void ul_push_c_function(lua_State *L, lua_CFunction function) { lua_pushcclosure(L, function, 0); }
static inline void ul_push_globals(lua_State *L) { lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS); }
static inline void ul_remove(lua_State *L, int index) { lua_rotate(L, index, -1); lua_settop(L, -2); }
static inline void ul_insert(lua_State *L, int index) { lua_rotate(L, index, 1); }
static inline void ul_collect(lua_State *L) { lua_gc(L, LUA_GCCOLLECT); }
/* Pushes "file:line:" of the Lua code that called the running function, or "". */
static inline void ul_push_where(lua_State *L) { luaL_where(L, 1); }
/* What to call a value's type in a message: its metatable's __name or the type's name. Not NULL. */
const char *ul_type_name(lua_State *L, int index);

/* -- Interrupts (lua_interrupt.c) -------------------------------------------------------------------------------- */

/* The state whose running code ul_interrupt_lua stops. */
void ul_interrupt_attach(lua_State *L);
void ul_interrupt_detach(void);
/* For the SIGINT handler: sets a hook on the running coroutine; the hook raises script.interrupted. */
void ul_interrupt_lua(void);
/* Takes hooks away that came too late. */
void ul_interrupt_clear(lua_State *L);
/* Replaces coroutine.resume and .wrap by versions that keep `running` up to date. */
void ul_open_coroutines(lua_State *L);

#pragma clang assume_nonnull end
