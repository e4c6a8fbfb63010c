import CLua
import CLuaShim
public import Diagnostics

/// A Swift body with the name and parameters that its error messages show. Lua owns it.
public final class LuaFunction {
  public let name: String
  public let parameters: [String]
  @usableFromInline let base: Int32
  @usableFromInline let body: (borrowing LuaArguments) throws -> Int32

  @inlinable init(_ name: String, _ parameters: [String], base: Int32, body: @escaping (borrowing LuaArguments) throws -> Int32) {
    self.name = name
    self.parameters = parameters
    self.base = base
    self.body = body
  }

  /// What the C trampoline calls: returns the number of results, or -1 with the error value on the stack.
  static let run: ul_body = { pointer, context in
    Unmanaged<LuaFunction>.fromOpaque(context)._withUnsafeGuaranteedRef { function in
      do {
        return try function.body(LuaArguments(pointer, Unmanaged.passUnretained(function), base: function.base))
      } catch {
        return LuaStack(pointer).push(error: error)
      }
    }
  }

  static let release: ul_release = { Unmanaged<LuaFunction>.fromOpaque($0).release() }
}

extension LuaFunction: LuaPushable {
  public func push(on stack: LuaStack) {
    stack.reserve(8)
    ul_push_function(stack.pointer, LuaFunction.run, Unmanaged.passRetained(self).toOpaque(), LuaFunction.release)
  }

  /// Pushes it as a member that is computed when it is read.
  func pushAsGetter(on stack: LuaStack) {
    stack.reserve(8)
    ul_push_getter(stack.pointer, LuaFunction.run, Unmanaged.passRetained(self).toOpaque(), LuaFunction.release)
  }

  /// A function value, for results such as `undo`.
  @inlinable public static func closure<R: LuaReturnable>(
    _ name: String, _ parameters: String..., body: @escaping (borrowing LuaArguments) throws -> R
  ) -> LuaFunction {
    LuaFunction(name, parameters, base: 0) { arguments in try body(arguments).pushResults(on: arguments.stack) }
  }
}

extension LuaStack {
  /// Pushes the Lua value of a Swift error for the trampoline to raise; returns -1.
  ///
  /// A wrong argument is the caller's mistake, so its message starts with the caller's line, as in Lua's own library.
  func push(error: any Error) -> Int32 {
    reserve(8)
    switch error {
    case let error as LuaError: error.value.push(on: self)
    case var error as CodedError:
      if error.code == .usage { error.message = callerPosition + error.message }
      error.push(on: self)
    default: CodedError(.internalError, "unexpected error: \(error)").push(on: self)
    }
    return -1
  }

  private var callerPosition: String {
    ul_push_where(pointer)
    defer { pop() }
    return string(at: -1) ?? ""
  }
}

/// A Lua module under construction: a table of functions and constants.
///
/// ```swift
/// let module = LuaModule("ulp.core", in: state)
/// module.function("add", "a", "b") { arguments in try arguments.integer(1) + arguments.integer(2) }
/// module.query("open", "path") { arguments in LuaBox(try Thing(path: arguments.string(1))) }   // nil, err
/// module.set("version", "0.1.0")
/// module.preload()                                                     // require "ulp.core"
/// ```
///
/// A body may throw `CodedError`, and `LuaError` from a callback. `LuaClass` has the example of a class.
public struct LuaModule {
  public let name: String
  public let table: LuaReference
  private let state: LuaState

  public init(_ name: String, in state: LuaState) {
    let stack = state.stack
    stack.reserve(4)
    ul_new_table(stack.pointer)
    self.name = name
    self.state = state
    table = LuaReference(stack, at: -1)
    stack.pop()
  }

  /// A function that raises when it fails.
  @inlinable public func function<R: LuaReturnable>(
    _ name: String, _ parameters: String..., body: @escaping (borrowing LuaArguments) throws -> R
  ) {
    set(name, LuaFunction(name, parameters, base: 0) { arguments in try body(arguments).pushResults(on: arguments.stack) })
  }

  /// A function without results.
  @inlinable public func function(
    _ name: String, _ parameters: String..., body: @escaping (borrowing LuaArguments) throws -> Void
  ) {
    set(name, LuaFunction(name, parameters, base: 0) { arguments in
      try body(arguments)
      return 0
    })
  }

  /// A function that returns `nil, err` when it fails. Wrong arguments, closed handles and interrupts still raise.
  @inlinable public func query<R: LuaReturnable>(
    _ name: String, _ parameters: String..., body: @escaping (borrowing LuaArguments) throws -> R
  ) {
    set(name, LuaFunction(name, parameters, base: 0) { arguments in try asQuery(arguments, body) })
  }

  /// A query without results: true, or `nil, err`.
  @inlinable public func query(
    _ name: String, _ parameters: String..., body: @escaping (borrowing LuaArguments) throws -> Void
  ) {
    set(name, LuaFunction(name, parameters, base: 0) { arguments in
      try asQuery(arguments) { arguments in
        try body(arguments)
        return true
      }
    })
  }

  /// A constant or a table.
  public func set(_ name: String, _ value: any LuaPushable) {
    let stack = state.stack
    stack.reserve(8)
    table.push(on: stack)
    stack.rawSetAny(name, value)
    stack.pop()
  }

  /// Makes `require(name)` return the table.
  public func preload() {
    let stack = state.stack
    stack.reserve(8)
    if pushRegistered(stack, "_LOADED") { stack.rawSetAny(name, table) }
    stack.pop()
  }
}

extension LuaState {
  /// Makes `require(name)` build the module when it is first asked for: a start that does not need it does not pay for it.
  public func preload(_ name: String, _ build: @escaping (LuaState) -> LuaModule) {
    let stack = self.stack
    stack.reserve(8)
    let loader = LuaFunction(name, [], base: 0) { arguments in build(arguments.stack.state).table.pushResults(on: arguments.stack) }
    if pushRegistered(stack, "_PRELOAD") { stack.rawSetAny(name, loader) }
    stack.pop()
  }
}

/// Pushes the registry's member `name`; true if it is a table.
private func pushRegistered(_ stack: LuaStack, _ name: String) -> Bool {
  name.push(on: stack)
  return lua_rawget(stack.pointer, ul_registry()) == LUA_TTABLE
}

/// Runs `body` and turns the failures that are ordinary answers into `nil, err`.
@inlinable func asQuery<R: LuaReturnable>(
  _ arguments: borrowing LuaArguments, _ body: (borrowing LuaArguments) throws -> R
) throws -> Int32 {
  do {
    return try body(arguments).pushResults(on: arguments.stack)
  } catch let error as CodedError where !raisesAlways(error.code) {
    return LuaResults.failure(error).pushResults(on: arguments.stack)
  }
}

/// Mistakes in the script, interrupts and bugs are never an answer.
@usableFromInline func raisesAlways(_ code: ErrorCode) -> Bool {
  code == .usage || code == .handleClosed || code == .scriptInterrupted || code == .internalError
}
