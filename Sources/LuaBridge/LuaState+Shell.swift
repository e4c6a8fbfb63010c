import CLua
import CLuaShim

/// What a program around the interpreter needs: chunks, arguments, interrupts, looking into tables without running code.
extension LuaState {
  /// Compiles `source` to a function. Only text: a precompiled chunk could crash the interpreter.
  public func compile(_ source: [UInt8], name: String) throws(LuaError) -> LuaReference {
    try load(source, name: name)
    defer { stack.pop() }
    return LuaReference(stack, at: -1)
  }

  /// Runs `source` with `...` set to `arguments`.
  public func run(_ source: [UInt8], name: String, arguments: [String] = []) throws(LuaError) {
    try load(source, name: name)
    let stack = self.stack
    stack.reserve(Int32(clamping: arguments.count + 8))
    for argument in arguments { argument.push(on: stack) }
    try stack.call(arguments: Int32(arguments.count), results: 0)
  }

  /// The global `arg`: `arg[0]` is the script, `arg[1]`... its arguments, `arg[-1]` the program.
  public func setArguments(program: String, script: String?, _ arguments: [String]) {
    let stack = self.stack
    stack.reserve(8)
    ul_push_globals(stack.pointer)
    "arg".push(on: stack)
    arguments.push(on: stack)
    (script ?? program).push(on: stack)
    lua_rawseti(stack.pointer, -2, 0)
    if script != nil {
      program.push(on: stack)
      lua_rawseti(stack.pointer, -2, -1)
    }
    lua_rawset(stack.pointer, -3)
    stack.pop()
  }

  // MARK: Interrupts

  /// To be run by the SIGINT handler: stops the Lua code that runs.
  public static var interruptHook: @convention(c) () -> Void { ul_interrupt_lua }

  /// Makes this the state that `interruptHook` stops.
  public func acceptInterrupts() { ul_interrupt_attach(stack.pointer) }

  /// Forgets an interrupt that came when the statement had already ended.
  public func clearInterrupt() { ul_interrupt_clear(stack.pointer) }
}

extension LuaReference {
  /// The member `name` of this table, without metamethods; nil if there is none.
  public func rawMember(_ name: String, on stack: LuaStack) -> LuaReference? {
    stack.reserve(4)
    push(on: stack)
    defer { stack.pop() }
    guard lua_type(stack.pointer, -1) == LUA_TTABLE else { return nil }
    name.push(on: stack)
    defer { stack.pop() }
    return lua_rawget(stack.pointer, -2) == LUA_TNIL ? nil : LuaReference(stack, at: -1)
  }

  /// The sequence part of this table, without metamethods, at most `limit` elements.
  public func rawElements(on stack: LuaStack, limit: Int) -> [LuaValue] {
    stack.reserve(4)
    push(on: stack)
    defer { stack.pop() }
    guard lua_type(stack.pointer, -1) == LUA_TTABLE else { return [] }
    return (0..<min(limit, Int(lua_rawlen(stack.pointer, -1)))).map { position in
      lua_rawgeti(stack.pointer, -1, Int64(position + 1))
      defer { stack.pop() }
      return stack.value(at: -1)
    }
  }
}

extension LuaStack {
  /// The text of a value as `tostring` shows it.
  public func text(of value: LuaValue) -> String {
    reserve(8)
    value.push(on: self)
    defer { pop() }
    return text(at: -1)
  }
}
