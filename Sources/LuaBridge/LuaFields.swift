import CLua
import CLuaShim
public import Diagnostics

/// A table that was given as an argument, read field by field, without metamethods.
///
/// Absent fields are nil; fields of the wrong type are `usage` errors that name the field.
public struct LuaFields {
  private let stack: LuaStack
  private let index: Int32?
  private let owner: String

  init(_ stack: LuaStack, index: Int32?, owner: String) {
    self.stack = stack
    self.index = index
    self.owner = owner
  }

  /// The length of the sequence part.
  public var count: Int { index.map { Int(lua_rawlen(stack.pointer, $0)) } ?? 0 }

  // MARK: Readers by name

  public func value(_ name: String) -> LuaValue { read(.name(name)) { stack.value(at: $0) } ?? .nil }
  public func integer(_ name: String) throws(CodedError) -> Int64? { try integer(.name(name)) }
  public func address(_ name: String) throws(CodedError) -> UInt64? { try integer(.name(name)).map { UInt64(bitPattern: $0) } }
  public func number(_ name: String) throws(CodedError) -> Double? {
    try typed(.name(name), LUA_TNUMBER, "number") { lua_tonumberx(stack.pointer, $0, nil) }
  }
  public func boolean(_ name: String) throws(CodedError) -> Bool? {
    try typed(.name(name), LUA_TBOOLEAN, "boolean") { lua_toboolean(stack.pointer, $0) != 0 }
  }
  public func string(_ name: String) throws(CodedError) -> String? { try string(.name(name)) }
  public func bytes(_ name: String) throws(CodedError) -> [UInt8]? { try bytes(.name(name)) }
  public func function(_ name: String) throws(CodedError) -> LuaReference? {
    try typed(.name(name), LUA_TFUNCTION, "function") { LuaReference(stack, at: $0) }
  }
  public func object<T: AnyObject>(_ name: String, _ type: T.Type) throws(CodedError) -> T? { try object(.name(name), type) }

  /// A span of time in nanoseconds: a number of seconds, or text such as "5ms", "250us", "2s".
  public func duration(_ name: String) throws(CodedError) -> Int64? {
    switch value(name) {
    case .nil: return nil
    case .integer(let seconds) where (0...1_000_000_000).contains(seconds): return seconds * 1_000_000_000
    case .number(let seconds) where seconds >= 0 && seconds <= 1e9: return Int64(seconds * 1e9)
    case .bytes(let text):
      if let duration = parseDuration(String(decoding: text, as: UTF8.self)) { return duration }
    default: break
    }
    throw CodedError(.usage, "\(owner) (field '\(name)': a duration expected: seconds, or text such as \"5ms\")")
  }

  /// One of `choices`.
  public func choice(_ name: String, _ choices: [String]) throws(CodedError) -> String? {
    guard let value = try string(name) else { return nil }
    guard choices.contains(value) else {
      let list = choices.map { "'\($0)'" }.joined(separator: ", ")
      throw CodedError(.usage, "\(owner) (field '\(name)': one of \(list) expected, got '\(printable(value))')")
    }
    return value
  }

  // MARK: Readers by position, from 1

  public func value(at position: Int) -> LuaValue { read(.position(position)) { stack.value(at: $0) } ?? .nil }
  public func integer(at position: Int) throws(CodedError) -> Int64? { try integer(.position(position)) }
  public func string(at position: Int) throws(CodedError) -> String? { try string(.position(position)) }
  public func bytes(at position: Int) throws(CodedError) -> [UInt8]? { try bytes(.position(position)) }
  public func object<T: AnyObject>(at position: Int, _ type: T.Type) throws(CodedError) -> T? { try object(.position(position), type) }

  // MARK: Nested tables

  /// Reads the table in the field `name`; nil if it is absent. The fields are valid only inside `body`.
  public func withTable<R>(_ name: String, _ body: (LuaFields) throws(CodedError) -> R) throws(CodedError) -> R? {
    try withTable(.name(name), body)
  }
  /// Reads the table at `position` of the sequence.
  public func withTable<R>(at position: Int, _ body: (LuaFields) throws(CodedError) -> R) throws(CodedError) -> R? {
    try withTable(.position(position), body)
  }

  /// The error for a field whose value cannot be used.
  public func invalid(_ name: String, _ problem: String) -> CodedError {
    CodedError(.usage, "\(owner) (field '\(name)': \(problem))")
  }

  /// Throws if there is a field whose name is not in `allowed`.
  public func allowOnly(_ allowed: [String]) throws(CodedError) {
    guard let index else { return }
    stack.reserve(4)
    lua_pushnil(stack.pointer)
    while ul_next(stack.pointer, index) != 0 {
      stack.pop()
      if let name = stack.string(at: -1), allowed.contains(name) { continue }
      let name = stack.text(at: -1)
      stack.pop()
      let list = allowed.map { "'\($0)'" }.joined(separator: ", ")
      throw CodedError(.usage, "\(owner) (unknown option '\(printable(name))')", hint: "the options are \(list)")
    }
  }

  // MARK: - Internals

  private enum Key {
    case name(String)
    case position(Int)
    var text: String {
      switch self {
      case .name(let name): "'\(name)'"
      case .position(let position): "#\(position)"
      }
    }
  }

  /// Pushes the field, reads it, pops it. Nil if the field is absent.
  private func read<R, Failure>(_ key: Key, _ body: (Int32) throws(Failure) -> R) throws(Failure) -> R? {
    guard let index else { return nil }
    stack.reserve(4)
    switch key {
    case .name(let name):
      name.push(on: stack)
      lua_rawget(stack.pointer, index)
    case .position(let position): lua_rawgeti(stack.pointer, index, Int64(position))
    }
    let field = stack.top
    defer { lua_settop(stack.pointer, field - 1) }
    return lua_type(stack.pointer, field) == LUA_TNIL ? nil : try body(field)
  }

  private func wrong(_ key: Key, _ expectation: String, _ field: Int32) -> CodedError {
    let given = stack.typeName(at: field, insteadOf: expectation)
    return CodedError(.usage, "\(owner) (field \(key.text): \(expectation) expected, got \(given))")
  }

  private func typed<R>(_ key: Key, _ type: Int32, _ name: String, _ body: (Int32) -> R) throws(CodedError) -> R? {
    try read(key) { (field: Int32) throws(CodedError) -> R in
      guard lua_type(stack.pointer, field) == type else { throw wrong(key, name, field) }
      return body(field)
    }
  }

  private func integer(_ key: Key) throws(CodedError) -> Int64? {
    try read(key) { (field: Int32) throws(CodedError) -> Int64 in
      var value: Int64 = 0
      if ul_integer(stack.pointer, field, &value) != 0 { throw wrong(key, "integer", field) }
      return value
    }
  }

  private func bytes(_ key: Key) throws(CodedError) -> [UInt8]? {
    try typed(key, LUA_TSTRING, "string") { field in
      var length = 0
      let bytes = ul_bytes(stack.pointer, field, &length)
      return [UInt8](UnsafeRawBufferPointer(start: bytes, count: length))
    }
  }

  private func string(_ key: Key) throws(CodedError) -> String? {
    guard let bytes = try bytes(key) else { return nil }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw CodedError(.usage, "\(owner) (field \(key.text): is not valid UTF-8)")
    }
    return text
  }

  private func object<T: AnyObject>(_ key: Key, _ type: T.Type) throws(CodedError) -> T? {
    try read(key) { (field: Int32) throws(CodedError) -> T in
      guard let object = ul_test_box(stack.pointer, field, LuaBox<T>.tag)?.pointee.object else {
        throw wrong(key, LuaBox<T>.name(in: stack), field)
      }
      return Unmanaged<T>.fromOpaque(object).takeUnretainedValue()
    }
  }

  private func withTable<R>(_ key: Key, _ body: (LuaFields) throws(CodedError) -> R) throws(CodedError) -> R? {
    try read(key) { (field: Int32) throws(CodedError) -> R in
      guard lua_type(stack.pointer, field) == LUA_TTABLE else { throw wrong(key, "table", field) }
      return try body(LuaFields(stack, index: field, owner: "\(owner), field \(key.text)"))
    }
  }
}

/// Nanoseconds of "5ms", "250us", "10ns", "2s", "1.5s", "3m"; nil for anything else.
func parseDuration(_ text: String) -> Int64? {
  let units: [(String, Double)] = [("ns", 1), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9)]
  for (suffix, scale) in units where text.hasSuffix(suffix) {
    if let number = Double(text.dropLast(suffix.count)) {
      return number >= 0 && number * scale < 9e18 ? Int64(number * scale) : nil
    }
  }
  return nil
}
