import Diagnostics
import Testing

@testable import LuaBridge

/// A state with a module `t` to call into.
func makeState(_ fill: (LuaModule, LuaState) -> Void = { _, _ in }) -> LuaState {
  let state = LuaState(searchPath: "/usr/share/lua/5.4/?.lua")
  let module = LuaModule("t", in: state)
  fill(module, state)
  module.preload()
  state.setGlobal("t", module.table)
  return state
}

extension LuaState {
  /// The first result of `source` as text.
  func text(_ source: String) throws -> String? { try evaluate(source, name: "=test").first?.text }
}

@Suite struct FunctionTests {
  @Test func valuesTravelBothWays() throws {
    let state = makeState { module, _ in
      module.function("add", "a", "b") { arguments in try arguments.integer(1) + arguments.integer(2) }
      module.function("swap", "a", "b") { arguments in LuaResults.values(arguments.value(2), arguments.value(1)) }
      module.function("record") { _ in ["pid": 7, "flags": LuaList([true, 1.5, "x"]), "none": String?.none] as LuaRecord }
      module.function("nothing") { _ in }
    }
    #expect(try state.text("return tostring(t.add(2, 40))") == "42")
    #expect(try state.text("return tostring(t.add(math.maxinteger, 0))") == "9223372036854775807")
    #expect(try state.text("local a, b = t.swap('x', {}) return type(a) .. b") == "tablex")
    #expect(try state.text("local r = t.record() return r.pid .. tostring(r.flags[1]) .. r.flags[2] .. r.flags[3]") == "7true1.5x")
    #expect(try state.text("return select('#', t.nothing()) .. tostring(t.record().none)") == "0nil")
  }

  @Test func bytesKeepEveryValue() throws {
    let state = makeState { module, _ in
      module.function("reverse", "bytes") { arguments in LuaBytes(try arguments.bytes(1).reversed()) }
    }
    #expect(try state.text("return t.reverse('\\xff\\0\\x80') == '\\x80\\0\\xff' and 'same'") == "same")
  }

  @Test(arguments: [
    ("t.read(1)", "test:1: bad argument #2 'count' to 'read' (integer expected, got no value)"),
    ("t.read(1, 'x')", "test:1: bad argument #2 'count' to 'read' (integer expected, got string)"),
    ("t.read(1, 1.5)", "test:1: bad argument #2 'count' to 'read' (integer expected, got a number with a fraction)"),
    ("t.read(1, 11)", "test:1: bad argument #2 'count' to 'read' (must be within 0 and 10)"),
    ("t.read('1', 1)", "test:1: bad argument #1 'address' to 'read' (integer expected, got string)"),
    ("t.read(1, 1, 5)", "test:1: bad argument #3 'options' to 'read' (table expected, got number)"),
    ("t.read(1, 1, {tiemout = 1})", "test:1: bad argument #3 'options' to 'read' (unknown option 'tiemout')"),
    ("t.read(1, 1, {[{}] = 1})", "unknown option 'table: "),
    ("t.read(1, 1, {timeout = {}})", "bad argument #3 'options' to 'read' (field 'timeout': a duration expected: seconds"),
    ("t.read(1, 1, {how = 'c'})", "field 'how': one of 'a', 'b' expected, got 'c'"),
    ("t.read(1, 1, {list = {{1}}})", "field 'list', field #1 (field #1: string expected, got number"),
  ])
  func wrongArgumentsAreNamed(call: String, message: String) throws {
    let state = makeState { module, _ in
      module.function("read", "address", "count", "options") { arguments in
        _ = try arguments.address(1)
        _ = try arguments.integer(2, in: 0...10)
        let options = try arguments.options(3, ["timeout", "how", "list"])
        _ = try options.duration("timeout")
        _ = try options.choice("how", ["a", "b"])
        _ = try options.withTable("list") { (list) throws(CodedError) in
          _ = try list.withTable(at: 1) { (inner) throws(CodedError) in _ = try inner.string(at: 1) }
        }
        return try options.duration("timeout")
      }
    }
    let text = try #require(try state.text("local ok, e = pcall(function() \(call) end) assert(not ok and e.code == 'usage') return e.message"))
    let alternative = message.replacing("', field #1 (", with: "'), field #1 (")
    #expect(text.contains(message) || text.contains(alternative), "\(text)")
    #expect(try state.evaluate("return t.read(1, 2, {timeout = '5ms'})").first?.integer == 5_000_000)
    #expect(try state.evaluate("return t.read(1, 2, {timeout = 2})").first?.integer == 2_000_000_000)
  }

  @Test func codedErrorsCarryTheirFacts() throws {
    let state = makeState { module, _ in
      let error = CodedError(.targetBuildID, "libz.so.1 differs", data: ["found": "ab", "list": [1, 2], "at": .record([.init("pid", 7)])])
      module.function("fail") { _ in throw error }
      module.query("ask", "x") { arguments in
        _ = try arguments.integer(1)
        throw error
      }
    }
    #expect(try state.text("local _, e = pcall(t.fail) return e.code .. e.found .. e.list[2] .. e.at.pid") == "target.build_idab27")
    #expect(try state.text("local _, e = pcall(t.fail) return tostring(e)")
      == "libz.so.1 differs [target.build_id]\nhint: use the patch that was made for this build")
    #expect(try state.text("local v, e = t.ask(1) return tostring(v) .. e.code") == "niltarget.build_id")
    #expect(try state.text("return tostring(pcall(t.ask))") == "false")
    let error = try #require(throws: LuaError.self) { try state.evaluate("t.fail()") }
    #expect(error.codeName == "target.build_id" && error.coded.code == .targetBuildID)
    #expect(error.traceback?.contains("stack traceback") == true)
  }

  @Test func aCallbacksErrorIsTheSameObjectAgain() throws {
    let state = makeState { module, _ in
      module.function("call", "body") { arguments in
        LuaResults.onStack(try arguments.function(1).callKeepingResults(on: arguments.stack, [1, "b"]))
      }
      module.function("list", "body") { arguments in try arguments.function(1).call(on: arguments.stack) }
    }
    #expect(try state.text("local e = {} local _, f = pcall(t.call, function() error(e) end) return tostring(e == f)") == "true")
    #expect(try state.text("local _, f = pcall(t.call, function() error(nil) end) return tostring(f)") == "nil")
    #expect(try state.text("return (select(2, t.call(function(...) return ... end)))") == "b")
    #expect(try state.text("local r = t.list(function() return 1, 2, 3 end) return #r .. r[3]") == "33")
    #expect(try state.text("local f = coroutine.wrap(function() return t.call(function() return coroutine.running() end) end) return type(f())") == "thread")
    #expect(try state.text("""
      local co = coroutine.create(function() t.call(coroutine.yield) end)
      return (select(2, coroutine.resume(co)))
      """) == "attempt to yield across a C-call boundary")
  }

  @Test func foreignErrorsAreInternal() throws {
    struct Odd: Error {}
    let state = makeState { module, _ in module.function("odd") { _ in throw Odd() } }
    #expect(try state.text("local _, e = pcall(t.odd) return e.code") == "internal")
  }
}
