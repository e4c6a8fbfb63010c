import Diagnostics
import Glibc
import Testing

@testable import LuaBridge

/// Errors in great number, through every kind of boundary: nothing may be left over.
@Suite(.serialized) struct StressTests {
  /// A million with `ULPSH_STRESS=1000000`.
  static let count = getenv("ULPSH_STRESS").flatMap { Int(String(cString: $0)) } ?? 20_000

  private final class Resource {
    static nonisolated(unsafe) var alive = 0  // this suite is the only user, and serialized
    init() { Resource.alive += 1 }
    deinit { Resource.alive -= 1 }
  }

  private func makeStressState() -> LuaState {
    makeState { module, state in
      state.define(Resource.self, "t.Resource") { resource in
        resource.method("fail") { _, _ in throw CodedError(.patchBlocked, "busy", data: ["pid": 7]) }
        resource.onClose { _ in throw CodedError(.patchBlocked, "closing fails") }
      }
      module.function("open") { _ in LuaBox(Resource()) }
      module.function("fail") { _ in
        let local = Resource()
        defer { withExtendedLifetime(local) {} }
        throw CodedError(.patchBlocked, "busy", data: ["pid": 7])
      }
      module.function("call", "body") { arguments in
        let local = Resource()
        defer { withExtendedLifetime(local) {} }
        return LuaResults.onStack(try arguments.function(1).callKeepingResults(on: arguments.stack, [LuaBox(local)], traceback: false))
      }
    }
  }

  /// Resident memory in KiB.
  private func residentMemory() -> Int {
    let descriptor = open("/proc/self/statm", O_RDONLY)
    defer { close(descriptor) }
    var buffer = [UInt8](repeating: 0, count: 128)
    let length = read(descriptor, &buffer, 127)
    let fields = String(decoding: buffer[..<max(0, length)], as: UTF8.self).split(separator: " ")
    return (Int(fields[1]) ?? 0) * 4
  }

  @Test(arguments: [
    ("Swift throws, Lua catches", "pcall(t.fail)"),
    ("a method throws", "local r = t.open() pcall(r.fail, r)"),
    ("Lua throws, Swift hands on, Lua catches", "pcall(t.call, error)"),
    ("nested", "pcall(t.call, function() t.call(function() t.call(t.fail) end) end)"),
    ("an argument error", "pcall(t.call)"),
    ("closing fails", "pcall(function() local r <close> = t.open() end)"),
    ("in a coroutine", "local co = coroutine.create(t.call) coroutine.resume(co, error)"),
    ("wrapped", "pcall(coroutine.wrap(function() t.call(error) end))"),
  ])
  func nothingIsLeftOver(what: String, code: String) throws {
    let state = makeStressState()
    defer { state.close() }
    state.collectGarbage()
    let boxes = state.liveBoxes
    try state.evaluate("warn '@off' function run(n) for _ = 1, n do \(code) end collectgarbage() collectgarbage() end")
    try state.evaluate("run(\(StressTests.count / 5))")
    // Other tests run in this process meanwhile: what is left over grows every time, what they take does not.
    var (before, after) = (0, Int.max / 2)
    for _ in 0..<10 where after - before >= 16_384 {
      before = residentMemory()
      try state.evaluate("run(\(StressTests.count))")
      after = residentMemory()
    }
    #expect(Resource.alive == 0, "\(what): Swift objects are left")
    #expect(state.liveBoxes == boxes, "\(what): boxes are left")
    #expect(state.stack.top == 0, "\(what): values are left on the stack")
    #expect(after - before < 16_384, "\(what): grew from \(before) to \(after) KiB")
  }
}
