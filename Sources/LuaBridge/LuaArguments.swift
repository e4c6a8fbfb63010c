public import CLua
public import CLuaShim
public import Diagnostics

/// The arguments of a binding, counted from 1 (a method's object is not counted).
///
/// The readers throw `usage` errors that name function, argument and what was given, as Lua's own library does.
/// Nothing is converted silently: "10" is not an integer, 10 is not a string.
public struct LuaArguments: ~Copyable {
  public let stack: LuaStack
  @usableFromInline let function: Unmanaged<LuaFunction>
  @usableFromInline let base: Int32

  @inlinable init(_ pointer: OpaquePointer, _ function: Unmanaged<LuaFunction>, base: Int32) {
    stack = LuaStack(pointer)
    self.function = function
    self.base = base
  }

  @inlinable func index(_ position: Int32) -> Int32 { position + base }

  public var count: Int32 { max(0, stack.top - base) }
  public func isAbsent(_ position: Int32) -> Bool { lua_type(stack.pointer, index(position)) <= LUA_TNIL }
  public func value(_ position: Int32) -> LuaValue { stack.value(at: index(position)) }

  // MARK: Readers

  @inlinable public func integer(_ position: Int32) throws(CodedError) -> Int64 {
    var value: Int64 = 0
    if ul_integer(stack.pointer, index(position), &value) != 0 { throw expected("integer", position) }
    return value
  }

  /// An integer within `range`.
  public func integer(_ position: Int32, in range: ClosedRange<Int64>) throws(CodedError) -> Int64 {
    let value = try integer(position)
    guard range.contains(value) else { throw invalid(position, "must be within \(range.lowerBound) and \(range.upperBound)") }
    return value
  }

  /// An address or other 64-bit pattern: Lua's integers are signed, the bits are what counts.
  @inlinable public func address(_ position: Int32) throws(CodedError) -> UInt64 {
    UInt64(bitPattern: try integer(position))
  }

  @inlinable public func number(_ position: Int32) throws(CodedError) -> Double {
    guard lua_type(stack.pointer, index(position)) == LUA_TNUMBER else { throw expected("number", position) }
    return lua_tonumberx(stack.pointer, index(position), nil)
  }

  @inlinable public func boolean(_ position: Int32) throws(CodedError) -> Bool {
    guard lua_type(stack.pointer, index(position)) == LUA_TBOOLEAN else { throw expected("boolean", position) }
    return lua_toboolean(stack.pointer, index(position)) != 0
  }

  /// A string that is valid UTF-8: paths and names. Use `bytes` for data.
  public func string(_ position: Int32) throws(CodedError) -> String {
    var length = 0
    guard let bytes = ul_bytes(stack.pointer, index(position), &length) else { throw expected("string", position) }
    guard let text = String(validating: UnsafeRawBufferPointer(start: bytes, count: length), as: UTF8.self) else {
      throw invalid(position, "is not valid UTF-8")
    }
    return text
  }

  public func bytes(_ position: Int32) throws(CodedError) -> [UInt8] {
    var length = 0
    guard let bytes = ul_bytes(stack.pointer, index(position), &length) else { throw expected("string", position) }
    return [UInt8](UnsafeRawBufferPointer(start: bytes, count: length))
  }

  /// A function, or a value with `__call`.
  public func function(_ position: Int32) throws(CodedError) -> LuaReference {
    if lua_type(stack.pointer, index(position)) != LUA_TFUNCTION {
      guard luaL_getmetafield(stack.pointer, index(position), "__call") != LUA_TNIL else { throw expected("function", position) }
      stack.pop()
    }
    return LuaReference(stack, at: index(position))
  }

  /// The Swift object of a handle that was made with `LuaBox`.
  @inlinable public func object<T: AnyObject>(_ position: Int32, _ type: T.Type) throws(CodedError) -> T {
    guard let box = ul_test_box(stack.pointer, index(position), LuaBox<T>.tag) else { throw expected(LuaBox<T>.name(in: stack), position) }
    guard let object = box.pointee.object else { throw finalized(position) }
    return Unmanaged<T>.fromOpaque(object).takeUnretainedValue()
  }

  /// The same, or nil if the argument is something else: for arguments that may be of several kinds.
  public func objectIfPresent<T: AnyObject>(_ position: Int32, _ type: T.Type) -> T? {
    guard let object = ul_test_box(stack.pointer, index(position), LuaBox<T>.tag)?.pointee.object else { return nil }
    return Unmanaged<T>.fromOpaque(object).takeUnretainedValue()
  }

  /// A table as named and numbered fields.
  public func table(_ position: Int32) throws(CodedError) -> LuaFields {
    guard lua_type(stack.pointer, index(position)) == LUA_TTABLE else { throw expected("table", position) }
    return LuaFields(stack, index: index(position), owner: describe(position))
  }

  /// An optional last table of options. A name that is not in `allowed` is an error.
  public func options(_ position: Int32, _ allowed: [String]) throws(CodedError) -> LuaFields {
    if isAbsent(position) { return LuaFields(stack, index: nil, owner: describe(position)) }
    let fields = try table(position)
    try fields.allowOnly(allowed)
    return fields
  }

  // MARK: Errors

  /// `bad argument #2 'count' to 'read'`.
  private func describe(_ position: Int32) -> String {
    function._withUnsafeGuaranteedRef { function in
      let name = function.parameters.indices.contains(Int(position) - 1) ? " '\(function.parameters[Int(position) - 1])'" : ""
      return "bad argument #\(position)\(name) to '\(function.name)'"
    }
  }

  /// The error for an argument of the wrong type.
  public func expected(_ expectation: String, _ position: Int32) -> CodedError {
    let given = stack.typeName(at: index(position), insteadOf: expectation)
    return CodedError(.usage, "\(describe(position)) (\(expectation) expected, got \(given))")
  }

  /// The error for an argument of the right type with an unusable value.
  public func invalid(_ position: Int32, _ problem: String) -> CodedError {
    CodedError(.usage, "\(describe(position)) (\(problem))")
  }

  @usableFromInline func finalized(_ position: Int32) -> CodedError {
    CodedError(.handleClosed, "\(describe(position)) (the object was already finalized)")
  }

  /// A method was called with something else as its object: `p.read(x)` instead of `p:read()`.
  @usableFromInline func badReceiver(_ name: String) -> CodedError {
    let given = stack.typeName(at: 1, insteadOf: name)
    let function = function._withUnsafeGuaranteedRef { $0.name }
    return CodedError(.usage, "calling '\(function)' on a bad self (\(name) expected, got \(given))", hint: "call methods with a colon")
  }
}

extension LuaStack {
  /// What to call the value at `index` in a message.
  func typeName(at index: Int32, insteadOf expectation: String) -> String {
    if expectation == "integer", lua_type(pointer, index) == LUA_TNUMBER { return "a number with a fraction" }
    reserve(4)
    return String(cString: ul_type_name(pointer, index))
  }
}
