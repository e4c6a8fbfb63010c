import CLua
public import CLuaShim
import Diagnostics

/// A Swift object as Lua gets it: a userdata that holds a reference.
public struct LuaBox<T: AnyObject>: LuaPushable {
  public let object: T
  public init(_ object: T) { self.object = object }

  /// The identity of the type: its metadata address is unique, and comparing it is cheaper than a registry lookup.
  @inlinable static var tag: UnsafeRawPointer { unsafeBitCast(T.self, to: UnsafeRawPointer.self) }

  public func push(on stack: LuaStack) {
    stack.reserve(8)
    let known = lua_rawgetp(stack.pointer, ul_registry(), LuaBox.tag) == LUA_TTABLE
    precondition(known, "LuaState.define(\(T.self).self) is missing")
    ul_push_box(stack.pointer, Unmanaged.passRetained(object).toOpaque(), LuaBox.tag, LuaBox.release, 1)
  }

  static var release: ul_release {
    { Unmanaged<AnyObject>.fromOpaque($0).release() }
  }

  /// The name under which the class was defined.
  @usableFromInline static func name(in stack: LuaStack) -> String {
    stack.reserve(4)
    defer { stack.pop() }
    guard lua_rawgetp(stack.pointer, ul_registry(), tag) == LUA_TTABLE else { return "\(T.self)" }
    return stack.rawString("__name", at: -1) ?? "\(T.self)"
  }
}

/// The definition of a class of handles: what Lua can do with a Swift object.
///
/// A complete example, with a property, methods, options, a callback and errors:
///
/// ```swift
/// enum ProcessModule {
///   static func install(in state: LuaState, core: LuaModule) {
///     state.define(TargetProcess.self, "ulp.Process") { process in
///       process.property("pid") { $0.pid }                                  // p.pid, read only
///       process.property("libs") { try $0.libraries().map(record) }         // may throw: raises
///       process.method("read", "address", "count") { process, arguments in  // p:read(address, count)
///         LuaBytes(try process.read(arguments.address(1), Int(arguments.integer(2, in: 0...1 << 30))))
///       }
///       process.method("write", "address", "bytes", "options") { process, arguments in
///         let options = try arguments.options(3, ["verify", "timeout"])     // unknown names raise
///         try process.write(arguments.address(1), arguments.bytes(2),
///           verify: options.boolean("verify") ?? true, timeout: options.duration("timeout"))
///       }                                                                   // no result
///       process.query("symbol", "name") { process, arguments in             // nil, err instead of raising
///         LuaRecord(dictionaryLiteral: ("address", try process.symbol(arguments.string(1))), ("size", 8))
///       }
///       process.method("stopped", "body") { process, arguments in           // a callback, its results handed on
///         let body = try arguments.function(1)
///         let stack = arguments.stack
///         return try process.whileStopped { threads in
///           LuaResults.onStack(try body.callKeepingResults(on: stack, [threads.map(record)]))
///         }
///       }
///       process.description { "Process \($0.pid)" }                         // tostring(p)
///       process.equality { $0.pid == $1.pid && $0.startTime == $1.startTime }
///       process.onClose { $0.close() }                                      // <close> and, as last resort, __gc
///     }
///     core.query("attach", "pid") { arguments in
///       LuaBox(try TargetProcess(pid: Int32(arguments.integer(1, in: 1...0x7fff_ffff))))
///     }
///   }
/// }
/// ```
///
/// A closed object stays a valid Swift object: its methods throw `handle.closed` themselves. `define` once per type and
/// state; `LuaBox(object)` is then a value like any other. Lua code may add methods: `ulp.core.members "ulp.Process"`.
public struct LuaClass<T: AnyObject> {
  public let name: String
  @usableFromInline let stack: LuaStack
  @usableFromInline let metatable: LuaReference
  @usableFromInline let members: LuaReference

  init(_ name: String, in state: LuaState) {
    let stack = state.stack
    stack.reserve(16)
    self.name = name
    self.stack = stack
    luaL_newmetatable(stack.pointer, name)
    metatable = LuaReference(stack, at: -1)
    ul_new_table(stack.pointer)
    members = LuaReference(stack, at: -1)
    stack.pop(2)
  }

  // MARK: Members

  /// A computed property, read only.
  @inlinable public func property<R: LuaReturnable>(_ name: String, get: @escaping (T) throws -> R) {
    let label = "\(self.name).\(name)"
    let getter = LuaFunction(name, [], base: 1) { arguments in
      guard let object: T = arguments.receiver() else { throw arguments.badReceiver(label) }
      return try get(object).pushResults(on: arguments.stack)
    }
    set(getter: getter, name)
  }

  /// A method that raises when it fails.
  @inlinable public func method<R: LuaReturnable>(
    _ name: String, _ parameters: String..., body: @escaping (T, borrowing LuaArguments) throws -> R
  ) {
    set(member: makeMethod(name, parameters) { try body($0, $1).pushResults(on: $1.stack) }, name)
  }

  /// A method without results.
  @inlinable public func method(
    _ name: String, _ parameters: String..., body: @escaping (T, borrowing LuaArguments) throws -> Void
  ) {
    set(member: makeMethod(name, parameters) { object, arguments in
      try body(object, arguments)
      return 0
    }, name)
  }

  /// A method that returns `nil, err` when it fails; wrong arguments and closed handles still raise.
  @inlinable public func query<R: LuaReturnable>(
    _ name: String, _ parameters: String..., body: @escaping (T, borrowing LuaArguments) throws -> R
  ) {
    set(member: makeMethod(name, parameters) { object, arguments in
      try asQuery(arguments) { try body(object, $0) }
    }, name)
  }

  /// A query without results: true, or `nil, err`.
  @inlinable public func query(
    _ name: String, _ parameters: String..., body: @escaping (T, borrowing LuaArguments) throws -> Void
  ) {
    set(member: makeMethod(name, parameters) { object, arguments in
      try asQuery(arguments) { arguments in
        try body(object, arguments)
        return true
      }
    }, name)
  }

  // MARK: Behaviour

  /// What `tostring` shows.
  public func description(_ text: @escaping (T) -> String) {
    metamethod("__tostring") { object, _ in text(object) }
  }

  /// `==`. Objects of other classes are never equal.
  public func equality(_ equal: @escaping (T, T) -> Bool) {
    metamethod("__eq") { object, arguments in
      arguments.objectIfPresent(1, T.self).map { equal(object, $0) } ?? false
    }
  }

  /// What leaving a `<close>` scope does; finalization does the same as a last resort. Must be harmless when repeated.
  public func onClose(_ close: @escaping (T) throws -> Void) {
    metamethod("__close") { object, _ in
      try close(object)
      return LuaResults.none
    }
    set(metafield: LuaFunction("__gc", [], base: 1) { arguments in
      guard let object: T = arguments.receiver() else { return 0 }
      defer { _ = ul_box_gc(arguments.stack.pointer) }
      do { try close(object) } catch {
        lua_warning(arguments.stack.pointer, "error in __gc (\(error))", 0)  // Lua itself shows only strings
      }
      return 0
    }, "__gc")
  }

  /// `object[key]` for keys that are no members.
  public func subscripting<R: LuaReturnable>(_ get: @escaping (T, borrowing LuaArguments) throws -> R) {
    let index = makeMethod("__index", ["key"]) { try get($0, $1).pushResults(on: $1.stack) }
    setIndex(other: index)
  }

  /// Any other metamethod: `__len`, `__call`, `__pairs`, ... The object is the receiver, the rest are arguments.
  public func metamethod<R: LuaReturnable>(_ name: String, body: @escaping (T, borrowing LuaArguments) throws -> R) {
    set(metafield: makeMethod(name, []) { try body($0, $1).pushResults(on: $1.stack) }, name)
  }

  // MARK: - Internals

  @usableFromInline func makeMethod(
    _ name: String, _ parameters: [String], _ body: @escaping (T, borrowing LuaArguments) throws -> Int32
  ) -> LuaFunction {
    let label = self.name
    return LuaFunction(name, parameters, base: 1) { arguments in
      guard let object: T = arguments.receiver() else { throw arguments.badReceiver(label) }
      return try body(object, arguments)
    }
  }

  @usableFromInline func set(member: LuaFunction, _ name: String) { set(in: members, name) { member.push(on: stack) } }
  @usableFromInline func set(getter: LuaFunction, _ name: String) { set(in: members, name) { getter.pushAsGetter(on: stack) } }
  private func set(metafield: any LuaPushable, _ name: String) { set(in: metatable, name) { metafield.push(on: stack) } }

  private func set(in table: LuaReference, _ name: String, push: () -> Void) {
    stack.reserve(8)
    table.push(on: stack)
    name.push(on: stack)
    push()
    lua_rawset(stack.pointer, -3)
    stack.pop()
  }

  private func setIndex(other: LuaFunction?) {
    set(in: metatable, "__index") {
      members.push(on: stack)
      other.push(on: stack)
      lua_pushcclosure(stack.pointer, ul_box_index, 2)
    }
  }

  /// What every class has, before the definition adds its own.
  func setDefaults() {
    let name = self.name
    setIndex(other: nil)
    set(in: metatable, "__newindex") { ul_push_c_function(stack.pointer, ul_box_newindex) }
    set(in: metatable, "__gc") { ul_push_c_function(stack.pointer, ul_box_gc) }
    set(metafield: members, "__members")
    description { _ in name }
    equality { $0 === $1 }
    stack.reserve(4)
    metatable.push(on: stack)
    lua_rawsetp(stack.pointer, ul_registry(), LuaBox<T>.tag)
  }
}

extension LuaArguments {
  /// The object of a method call, or nil if it is something else or already finalized.
  @inlinable func receiver<T: AnyObject>() -> T? {
    guard let object = ul_test_box(stack.pointer, 1, LuaBox<T>.tag)?.pointee.object else { return nil }
    return Unmanaged<T>.fromOpaque(object).takeUnretainedValue()
  }
}

extension LuaState {
  /// Defines how Lua sees objects of the class `type`. See `LuaClass` for an example.
  public func define<T: AnyObject>(_ type: T.Type, _ name: String, _ definition: (LuaClass<T>) -> Void) {
    let luaClass = LuaClass<T>(name, in: self)
    luaClass.setDefaults()
    definition(luaClass)
  }
}
