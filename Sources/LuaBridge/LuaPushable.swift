public import CLua
import CLuaShim
public import Diagnostics

/// What a binding may return: any number of Lua values.
public protocol LuaReturnable {
  /// Pushes the values and returns how many there are.
  func pushResults(on stack: LuaStack) -> Int32
}

/// A Swift value with one Lua value as its counterpart.
public protocol LuaPushable: LuaReturnable {
  func push(on stack: LuaStack)
}

extension LuaPushable {
  @inlinable public func pushResults(on stack: LuaStack) -> Int32 {
    push(on: stack)
    return 1
  }
}

/// Several results, none, or a failure.
public struct LuaResults: LuaReturnable {
  @usableFromInline enum Kind {
    case values([any LuaPushable])
    case onStack(Int32)
    case failure(CodedError)
  }
  @usableFromInline let kind: Kind
  @inlinable init(_ kind: Kind) { self.kind = kind }

  /// No result.
  public static var none: LuaResults { LuaResults(.onStack(0)) }
  public static func values(_ values: any LuaPushable...) -> LuaResults { LuaResults(.values(values)) }
  /// The topmost `count` values of the stack, as left there by `LuaReference.callKeepingResults`.
  public static func onStack(_ count: Int32) -> LuaResults { LuaResults(.onStack(count)) }
  /// `nil, err`: for queries and opens, where failure is an ordinary answer.
  public static func failure(_ error: CodedError) -> LuaResults { LuaResults(.failure(error)) }

  public func pushResults(on stack: LuaStack) -> Int32 {
    switch kind {
    case .values(let values):
      stack.reserve(Int32(values.count) + 4)
      for value in values { value.push(on: stack) }
      return Int32(values.count)
    case .onStack(let count): return count
    case .failure(let error):
      lua_pushnil(stack.pointer)
      error.push(on: stack)
      return 2
    }
  }
}

// MARK: - Scalars

extension Int64: LuaPushable {
  @inlinable public func push(on stack: LuaStack) { lua_pushinteger(stack.pointer, self) }
}
extension Int: LuaPushable {
  @inlinable public func push(on stack: LuaStack) { lua_pushinteger(stack.pointer, Int64(self)) }
}
extension Int32: LuaPushable {
  @inlinable public func push(on stack: LuaStack) { lua_pushinteger(stack.pointer, Int64(self)) }
}
extension UInt32: LuaPushable {
  @inlinable public func push(on stack: LuaStack) { lua_pushinteger(stack.pointer, Int64(self)) }
}
/// Addresses and the like: the same 64 bits, which Lua shows as signed.
extension UInt64: LuaPushable {
  @inlinable public func push(on stack: LuaStack) { lua_pushinteger(stack.pointer, Int64(bitPattern: self)) }
}
extension UInt8: LuaPushable {
  @inlinable public func push(on stack: LuaStack) { lua_pushinteger(stack.pointer, Int64(self)) }
}
extension UInt16: LuaPushable {
  @inlinable public func push(on stack: LuaStack) { lua_pushinteger(stack.pointer, Int64(self)) }
}
extension Double: LuaPushable {
  @inlinable public func push(on stack: LuaStack) { lua_pushnumber(stack.pointer, self) }
}
extension Bool: LuaPushable {
  @inlinable public func push(on stack: LuaStack) { lua_pushboolean(stack.pointer, self ? 1 : 0) }
}
extension String: LuaPushable {
  public func push(on stack: LuaStack) {
    var copy = self
    copy.withUTF8 { _ = lua_pushlstring(stack.pointer, UnsafeRawPointer($0.baseAddress)?.assumingMemoryBound(to: CChar.self), $0.count) }
  }
}
extension Optional: LuaReturnable where Wrapped: LuaPushable {}
extension Optional: LuaPushable where Wrapped: LuaPushable {
  @inlinable public func push(on stack: LuaStack) {
    if let self { self.push(on: stack) } else { lua_pushnil(stack.pointer) }
  }
}

/// Bytes as a Lua string, whatever they are.
public struct LuaBytes: LuaPushable {
  public let bytes: [UInt8]
  public init(_ bytes: [UInt8]) { self.bytes = bytes }
  public func push(on stack: LuaStack) {
    bytes.withUnsafeBytes { _ = lua_pushlstring(stack.pointer, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count) }
  }
}

/// Lua's nil.
public struct LuaNil: LuaPushable {
  public init() {}
  public func push(on stack: LuaStack) { lua_pushnil(stack.pointer) }
}

// MARK: - Tables

extension Array: LuaReturnable where Element: LuaPushable {}
/// A sequence: `{a, b, ...}`.
extension Array: LuaPushable where Element: LuaPushable {
  public func push(on stack: LuaStack) {
    stack.reserve(8)
    lua_createtable(stack.pointer, Int32(clamping: count), 0)
    for (index, element) in enumerated() {
      element.push(on: stack)
      lua_rawseti(stack.pointer, -2, Int64(index + 1))
    }
  }
}

/// A sequence of values of different types.
public struct LuaList: LuaPushable, ExpressibleByArrayLiteral {
  public var elements: [any LuaPushable]
  public init(_ elements: [any LuaPushable]) { self.elements = elements }
  public init(arrayLiteral elements: any LuaPushable...) { self.elements = elements }
  public func push(on stack: LuaStack) {
    stack.reserve(8)
    lua_createtable(stack.pointer, Int32(clamping: elements.count), 0)
    for (index, element) in elements.enumerated() {
      element.push(on: stack)
      lua_rawseti(stack.pointer, -2, Int64(index + 1))
    }
  }
}

/// A table with named members: `["pid": 4242, "comm": "nginx"]`. Members that are nil are left out.
public struct LuaRecord: LuaPushable, ExpressibleByDictionaryLiteral {
  public private(set) var members: [(name: String, value: any LuaPushable)]
  public init() { members = [] }
  public init(dictionaryLiteral elements: (String, any LuaPushable)...) {
    members = elements.map { (name: $0.0, value: $0.1) }
  }
  /// Sets the member `name`; the same name again replaces it in Lua.
  public mutating func set(_ name: String, _ value: any LuaPushable) { members.append((name: name, value: value)) }

  public func push(on stack: LuaStack) {
    stack.reserve(8)
    lua_createtable(stack.pointer, 0, Int32(clamping: members.count))
    for member in members { stack.rawSetAny(member.name, member.value) }
  }
}

/// A table that is a sequence and has named members as well.
public struct LuaMixed: LuaPushable {
  public let named: LuaRecord
  public let sequence: [any LuaPushable]
  public init(named: LuaRecord, sequence: [any LuaPushable]) {
    self.named = named
    self.sequence = sequence
  }

  public func push(on stack: LuaStack) {
    named.push(on: stack)
    for (index, element) in sequence.enumerated() {
      element.push(on: stack)
      lua_rawseti(stack.pointer, -2, Int64(index + 1))
    }
  }
}

extension LuaStack {
  /// `table[name] = value` for the table on top.
  func rawSetAny(_ name: String, _ value: any LuaPushable) {
    name.push(on: self)
    value.push(on: self)
    lua_rawset(pointer, -3)
  }
}

// MARK: - Diagnostics

extension DiagnosticValue: LuaPushable {
  public func push(on stack: LuaStack) {
    switch self {
    case .text(let text): text.push(on: stack)
    case .integer(let integer): integer.push(on: stack)
    case .flag(let flag): flag.push(on: stack)
    case .list(let elements): elements.push(on: stack)
    case .record(let members):
      stack.reserve(8)
      lua_createtable(stack.pointer, 0, Int32(clamping: members.count))
      for member in members { stack.rawSetAny(member.name, member.value) }
    }
  }
}

/// The error table: `code`, `message`, `hint` and the members of `data`, with the metatable `ulp.Error`.
extension CodedError: LuaPushable {
  public func push(on stack: LuaStack) {
    stack.reserve(8)
    lua_createtable(stack.pointer, 0, Int32(clamping: data.count + 3))
    for fact in data { stack.rawSetAny(fact.name, fact.value) }
    stack.rawSetAny("code", code.name)
    stack.rawSetAny("message", message)
    stack.rawSetAny("hint", hint)
    luaL_setmetatable(stack.pointer, LuaState.errorClass)
  }
}
