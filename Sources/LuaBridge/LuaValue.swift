import CLua
import CLuaShim
public import Diagnostics

/// A Lua value as Swift holds it. What has identity stays in Lua and is referred to.
public enum LuaValue: LuaPushable {
  case `nil`
  case boolean(Bool)
  case integer(Int64)
  case number(Double)
  /// A string. Lua strings are bytes; `text` reads them as UTF-8.
  case bytes([UInt8])
  /// A table, function, userdata or coroutine.
  case reference(LuaReference)

  public func push(on stack: LuaStack) {
    switch self {
    case .nil: lua_pushnil(stack.pointer)
    case .boolean(let value): value.push(on: stack)
    case .integer(let value): value.push(on: stack)
    case .number(let value): value.push(on: stack)
    case .bytes(let value): LuaBytes(value).push(on: stack)
    case .reference(let value): value.push(on: stack)
    }
  }

  /// The string with invalid UTF-8 replaced; nil if it is no string.
  public var text: String? {
    if case .bytes(let bytes) = self { return String(decoding: bytes, as: UTF8.self) }
    return nil
  }
  public var integer: Int64? { if case .integer(let value) = self { value } else { nil } }
  /// Everything but nil and false, as in Lua.
  public var isTrue: Bool {
    switch self {
    case .nil, .boolean(false): false
    default: true
    }
  }
}

/// A Lua value kept in the registry for as long as this object lives.
///
/// It belongs to the main thread, like everything of Lua; `@unchecked Sendable` only because errors have to be.
public final class LuaReference: LuaPushable, @unchecked Sendable {
  let state: LuaState
  private let key: Int32

  /// Refers to the value at `index`.
  init(_ stack: LuaStack, at index: Int32) {
    state = stack.state
    stack.reserve(4)
    lua_pushvalue(stack.pointer, index)
    key = luaL_ref(stack.pointer, ul_registry())
  }

  deinit {
    guard let main = state.pointerIfOpen else { return }
    lua_checkstack(main, 4)
    luaL_unref(main, ul_registry(), key)
  }

  public func push(on stack: LuaStack) { lua_rawgeti(stack.pointer, ul_registry(), Int64(key)) }

  /// Calls the value and returns its results. A Lua error comes back as `LuaError` and can be thrown on.
  ///
  /// Use the stack that the binding was given: it may be a coroutine's.
  public func call(on stack: LuaStack, _ arguments: any LuaPushable...) throws(LuaError) -> [LuaValue] {
    try call(on: stack, arguments)
  }

  public func call(on stack: LuaStack, _ arguments: [any LuaPushable]) throws(LuaError) -> [LuaValue] {
    let count = try callKeepingResults(on: stack, arguments)
    let first = stack.top - count + 1
    let results = (0..<count).map { stack.value(at: first + $0) }
    stack.pop(count)
    return results
  }

  /// Calls the value and leaves its results on the stack; returns how many. For `LuaResults.onStack`.
  ///
  /// A traceback takes about 20 us; leave it out where failing is part of the work.
  public func callKeepingResults(
    on stack: LuaStack, _ arguments: [any LuaPushable], traceback: Bool = true
  ) throws(LuaError) -> Int32 {
    stack.reserve(Int32(arguments.count) + 8)
    let base = stack.top
    push(on: stack)
    for argument in arguments { argument.push(on: stack) }
    try stack.call(arguments: Int32(arguments.count), results: LUA_MULTRET, traceback: traceback)
    return stack.top - base
  }
}

/// A Lua error on its way through Swift: the value itself, untouched, and where it came from.
public struct LuaError: Error, CustomStringConvertible {
  public let value: LuaReference
  /// The stack at the moment of the error; nil if Lua could not make one.
  public let traceback: String?

  /// Takes the error value off the top of the stack.
  init(popping stack: LuaStack) {
    value = LuaReference(stack, at: -1)
    stack.pop()
    stack.reserve(4)
    ul_take_traceback(stack.pointer)
    traceback = stack.string(at: -1)
    stack.pop()
  }

  private func withValue<T>(_ body: (LuaStack) -> T) -> T {
    let stack = value.state.stack
    stack.reserve(8)
    value.push(on: stack)
    defer { stack.pop() }
    return body(stack)
  }

  /// The dotted code of a coded error; nil for any other value.
  public var codeName: String? { withValue { $0.rawString("code", at: -1) } }
  /// The advice of a coded error.
  public var hint: String? { withValue { $0.rawString("hint", at: -1) } }
  /// The message of a coded error, else the value as `tostring` shows it. Never fails.
  public var message: String { withValue { $0.rawString("message", at: -1) ?? $0.errorText(at: -1) } }
  public var description: String { withValue { $0.errorText(at: -1) } }

  /// The same as a Swift error, when its code is in the catalogue; else `script.error` with the message.
  public var coded: CodedError {
    let name = codeName
    let code = ErrorCode.all.first { $0.name == name } ?? .scriptError
    return CodedError(code, message, hint: hint)
  }
}

extension LuaStack {
  /// The text of an error value. One that has no text of its own is named by its type.
  func errorText(at index: Int32) -> String {
    switch lua_type(pointer, index) {
    case LUA_TSTRING, LUA_TNUMBER: return text(at: index)
    default:
      reserve(4)
      let value = lua_absindex(pointer, index)
      guard luaL_getmetafield(pointer, value, "__tostring") != LUA_TNIL else {
        return "(error object is a \(String(cString: ul_type_name(pointer, value))) value)"
      }
      pop()
      return text(at: value)
    }
  }
}
