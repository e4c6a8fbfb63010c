import CLua
import CLuaShim

/// A Lua interpreter. It belongs to the main thread, together with everything made from it.
public final class LuaState {
  private var open: OpaquePointer?
  /// The name of the metatable of error tables.
  public static let errorClass = "ulp.Error"

  /// A state with the standard libraries. Lua's environment variables are ignored and nothing but `searchPath`
  /// (package.path) is searched for modules: no `./`.
  public init(searchPath: String = "") {
    open = nil
    guard let pointer = ul_new_state(Unmanaged.passUnretained(self).toOpaque()) else { fatalError("out of memory") }
    open = pointer
    defineErrorClass()
    self.searchPath = searchPath
  }

  deinit { close() }

  /// Closes the state: runs all finalizers. Closing twice is fine.
  public func close() {
    guard let pointer = open else { return }
    ul_interrupt_detach()
    lua_close(pointer)
    open = nil
  }

  var pointerIfOpen: OpaquePointer? { open }

  /// The main thread's stack.
  public var stack: LuaStack {
    guard let open else { preconditionFailure("the Lua state is closed") }
    return LuaStack(open)
  }

  /// How many Swift objects Lua holds now.
  public var liveBoxes: Int { ul_state_of(stack.pointer).pointee.live_boxes }

  /// Runs a full garbage collection.
  public func collectGarbage() { ul_collect(stack.pointer) }

  /// package.path.
  public var searchPath: String {
    get { (try? evaluate("return package.path").first?.text) ?? "" }
    set {
      let stack = self.stack
      stack.reserve(8)
      ul_push_globals(stack.pointer)
      "package".push(on: stack)
      lua_rawget(stack.pointer, -2)
      if lua_type(stack.pointer, -1) == LUA_TTABLE { stack.rawSet("path", newValue, at: -1) }
      stack.pop(2)
    }
  }

  // MARK: Running code

  /// Compiles `source` and leaves the function on the stack. `name` follows Lua's convention: `=stdin`, `@file.lua`.
  public func load(_ source: [UInt8], name: String) throws(LuaError) {
    let stack = self.stack
    stack.reserve(4)
    let status = source.withUnsafeBytes {
      luaL_loadbufferx(stack.pointer, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count, name, "t")
    }
    if status != LUA_OK { throw LuaError(popping: stack) }
  }

  /// Runs `source` and returns its results.
  @discardableResult
  public func evaluate(_ source: String, name: String = "=(swift)") throws(LuaError) -> [LuaValue] {
    let stack = self.stack
    let base = stack.top
    try load(Array(source.utf8), name: name)
    try stack.call(arguments: 0, results: LUA_MULTRET)
    let results = base < stack.top ? (base + 1...stack.top).map { stack.value(at: $0) } : []
    stack.pop(Int32(results.count))
    return results
  }

  /// `require(name)`.
  public func require(_ name: String) throws(LuaError) -> LuaReference {
    let stack = self.stack
    if ul_require(stack.pointer, name) != LUA_OK { throw LuaError(popping: stack) }
    defer { stack.pop() }
    return LuaReference(stack, at: -1)
  }

  /// Sets a global variable.
  public func setGlobal(_ name: String, _ value: some LuaPushable) {
    let stack = self.stack
    stack.reserve(4)
    ul_push_globals(stack.pointer)
    stack.rawSet(name, value, at: -1)
    stack.pop()
  }

  private func defineErrorClass() {
    let stack = self.stack
    luaL_newmetatable(stack.pointer, LuaState.errorClass)
    ul_push_c_function(stack.pointer, ul_error_tostring)
    setRawField(stack, "__tostring")
    ul_push_c_function(stack.pointer, ul_error_concat)
    setRawField(stack, "__concat")
    stack.pop()
  }
}

@available(*, unavailable)
extension LuaState: Sendable {}

/// Pops a value into the member `name` of the table below it, without metamethods.
func setRawField(_ stack: LuaStack, _ name: String) {
  name.push(on: stack)
  ul_insert(stack.pointer, -2)
  lua_rawset(stack.pointer, -3)
}

extension LuaStack {
  /// Calls the function below `arguments` values, protected, and leaves the results.
  public func call(arguments: Int32, results: Int32, traceback: Bool = true) throws(LuaError) {
    if ul_pcall(pointer, arguments, results, traceback ? 1 : 0) != LUA_OK { throw LuaError(popping: self) }
  }
}

extension LuaState {
  /// The metatable of error tables, for Lua code that makes its own.
  public var errorMetatable: LuaReference { registered(LuaState.errorClass)! }

  /// The member table of the class that was defined as `name`; Lua code adds methods to it. Nil if there is none.
  public func members(of name: String) -> LuaReference? {
    guard let metatable = registered(name) else { return nil }
    let stack = self.stack
    stack.reserve(4)
    metatable.push(on: stack)
    "__members".push(on: stack)
    defer { stack.pop(2) }
    return lua_rawget(stack.pointer, -2) == LUA_TTABLE ? LuaReference(stack, at: -1) : nil
  }

  private func registered(_ name: String) -> LuaReference? {
    let stack = self.stack
    stack.reserve(4)
    name.push(on: stack)
    defer { stack.pop() }
    return lua_rawget(stack.pointer, ul_registry()) == LUA_TTABLE ? LuaReference(stack, at: -1) : nil
  }
}
