public import CLua
import CLuaShim

/// The stack of the coroutine that called, as a value to push on. Valid only during that call.
///
/// Nothing here can raise a Lua error: raw accesses, and protected calls for the rest.
public struct LuaStack {
  public let pointer: OpaquePointer

  @inlinable public init(_ pointer: OpaquePointer) { self.pointer = pointer }

  public var top: Int32 { lua_gettop(pointer) }

  /// Makes room for `count` more values. Lua's limit is a million; beyond it there is no sensible way on.
  @inlinable public func reserve(_ count: Int32) {
    if lua_checkstack(pointer, count) == 0 { fatalError("Lua stack exhausted") }
  }

  public func pop(_ count: Int32 = 1) { ul_pop(pointer, count) }

  /// The state that this stack belongs to.
  public var state: LuaState {
    Unmanaged<LuaState>.fromOpaque(ul_state_of(pointer).pointee.context!).takeUnretainedValue()
  }

  /// The text of the value at `index` as `tostring` shows it; a substitute if its `__tostring` fails.
  public func text(at index: Int32) -> String {
    ul_push_text(pointer, index)
    defer { pop() }
    return string(at: -1) ?? "?"
  }

  /// The string at `index`, with invalid UTF-8 replaced; nil if it is no string.
  public func string(at index: Int32) -> String? {
    var length = 0
    guard let bytes = ul_bytes(pointer, index, &length) else { return nil }
    return String(decoding: UnsafeRawBufferPointer(start: bytes, count: length), as: UTF8.self)
  }

  /// The member `name` of the table at `index`, without metamethods, as text; nil if it is no string.
  func rawString(_ name: String, at index: Int32) -> String? {
    guard lua_type(pointer, index) == LUA_TTABLE else { return nil }
    reserve(4)
    let table = lua_absindex(pointer, index)
    name.push(on: self)
    lua_rawget(pointer, table)
    defer { pop() }
    return string(at: -1)
  }

  /// Sets a member of the table at `index` without metamethods.
  public func rawSet(_ name: String, _ value: some LuaPushable, at index: Int32) {
    reserve(8)
    let table = lua_absindex(pointer, index)
    name.push(on: self)
    value.push(on: self)
    lua_rawset(pointer, table)
  }

  /// Reads the value at `index`; tables, functions and objects become references.
  public func value(at index: Int32) -> LuaValue {
    switch lua_type(pointer, index) {
    case LUA_TNIL, LUA_TNONE: return .nil
    case LUA_TBOOLEAN: return .boolean(lua_toboolean(pointer, index) != 0)
    case LUA_TNUMBER:
      if lua_isinteger(pointer, index) != 0 { return .integer(lua_tointegerx(pointer, index, nil)) }
      return .number(lua_tonumberx(pointer, index, nil))
    case LUA_TSTRING:
      var length = 0
      let bytes = ul_bytes(pointer, index, &length)
      return .bytes([UInt8](UnsafeRawBufferPointer(start: bytes, count: length)))
    default: return .reference(LuaReference(self, at: index))
    }
  }
}

@available(*, unavailable)
extension LuaStack: Sendable {}
