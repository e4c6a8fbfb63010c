import Diagnostics
import Testing

@testable import LuaBridge

/// Something to be held by Lua, which counts itself.
private final class Handle {
  final class Census { var alive = 0, closes = 0 }
  let census: Census
  let number: Int
  var isOpen = true

  init(_ number: Int, _ census: Census) {
    self.number = number
    self.census = census
    census.alive += 1
  }
  deinit { census.alive -= 1 }

  func close() {
    if isOpen { census.closes += 1 }
    isOpen = false
  }
  func checked() throws(CodedError) -> Handle {
    guard isOpen else { throw CodedError(.handleClosed, "handle \(number) is closed") }
    return self
  }
}
private final class Other {}

private func makeHandles(_ census: Handle.Census) -> LuaState {
  makeState { module, state in
    state.define(Other.self, "t.Other") { _ in }
    state.define(Handle.self, "t.Handle") { handle in
      handle.property("number") { $0.number }
      handle.property("open_number") { try $0.checked().number }
      handle.method("plus", "other") { handle, arguments in handle.number + Int(try arguments.integer(1)) }
      handle.method("join", "other") { handle, arguments in try handle.number + arguments.object(1, Handle.self).number }
      handle.method("close") { handle, _ in handle.close() }
      handle.query("ask") { handle, _ in try handle.checked().number }
      handle.description { "Handle \($0.number)\($0.isOpen ? "" : " (closed)")" }
      handle.equality { $0.number == $1.number }
      handle.onClose { $0.close() }
      handle.metamethod("__len") { handle, _ in handle.number }
    }
    module.function("open", "number") { arguments in LuaBox(Handle(Int(try arguments.integer(1)), census)) }
    module.function("other") { _ in LuaBox(Other()) }
  }
}

@Suite struct ClassTests {
  @Test(arguments: [
    ("return t.open(7).number", "7"),
    ("return t.open(7):plus(1)", "8"),
    ("return t.open(7):join(t.open(5))", "12"),
    ("return tostring(t.open(7))", "Handle 7"),
    ("local h = t.open(7) h:close() return tostring(h)", "Handle 7 (closed)"),
    ("return tostring(t.open(7) == t.open(7))", "true"),
    ("return tostring(t.open(7) == t.open(8))", "false"),
    ("return tostring(t.open(7) == t.other()) .. tostring(t.open(7) == io.stdout)", "falsefalse"),
    ("return tostring(t.open(7).absent)", "nil"),
    ("return #t.open(7)", "7"),
    ("return tostring(pcall(function() t.open(7).number = 1 end))", "false"),
    ("return select(2, pcall(t.open(7).plus, 1)).message", "calling 'plus' on a bad self (t.Handle expected, got number)"),
    ("return select(2, pcall(t.open(7).join, t.open(1), t.other())).message", "bad argument #1 'other' to 'join' (t.Handle expected, got t.Other)"),
    ("return select(2, pcall(t.open(7).plus, io.stdout)).message", "calling 'plus' on a bad self (t.Handle expected, got FILE*)"),
    ("local h = t.open(7) h:close() local v, e = h:ask() return tostring(v)", "raised: handle 7 is closed"),
    ("local h = t.open(7) h:close() return select(2, pcall(function() return h.open_number end)).code", "handle.closed"),
    ("local h = t.open(7) getmetatable(h).__gc(h) return select(2, pcall(h.plus, h, 1)).code", "usage"),
    ("local h = t.open(7) getmetatable(h).__gc(h) return tostring(pcall(tostring, h))", "false"),
    ("getmetatable(t.open(7)).__gc(io.stdout)", "nil"),
    ("debug.setmetatable(io.stdout, getmetatable(t.open(7))) return pcall(function() return io.stdout.number end)", "false"),
  ])
  func members(code: String, expected: String) throws {
    let census = Handle.Census()
    let state = makeHandles(census)
    defer { state.close() }
    let wrapped = "local r = table.pack(pcall(load([==[\(code)]==]))) return r[1] and tostring(r[2]) or 'raised: ' .. r[2].message"
    #expect(try state.text(wrapped) == expected)
  }

  @Test func closingHappensOnceAndNothingLeaks() throws {
    let census = Handle.Census()
    let state = makeHandles(census)
    state.collectGarbage()
    let before = state.liveBoxes
    try state.evaluate("do local h <close> = t.open(1) end")
    #expect(census.closes == 1)
    try state.evaluate("for i = 1, 1000 do local h <close> = t.open(i) end for i = 1, 1000 do t.open(i) end")
    state.collectGarbage()
    state.collectGarbage()
    #expect(census.alive == 0 && census.closes == 2001 && state.liveBoxes == before)
    try state.evaluate("kept = t.open(5)")
    state.close()
    #expect(census.alive == 0 && census.closes == 2002)
  }

  /// A finalizer written in Lua may run after Swift's objects are gone.
  @Test func finalizersMayCallWhatIsAlreadyFinalized() throws {
    let census = Handle.Census()
    let state = makeHandles(census)
    try state.evaluate("""
      early = setmetatable({}, {__gc = function() early.h:plus(1) end})
      early.h = t.open(1)
      local h = t.open(2)
      setmetatable({}, {__gc = function() return h.number, t.open end})
      warn('@off')
      """)
    state.close()
    #expect(census.alive == 0)
  }

  @Test func luaMayAddMethods() throws {
    let census = Handle.Census()
    let state = makeHandles(census)
    let members = try #require(state.members(of: "t.Handle"))
    state.setGlobal("members", members)
    #expect(try state.evaluate("function members.twice(h) return 2 * h.number end return t.open(21):twice()").first?.integer == 42)
    #expect(state.members(of: "t.None") == nil)
  }
}
