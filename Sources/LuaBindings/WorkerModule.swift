import CLinux
import Diagnostics
import Glibc
import LuaBridge

/// `core.worker`: a copy of this program that does a part of the work meanwhile, on another processor.
enum WorkerModule {
  static func install(in state: LuaState, core: LuaModule) {
    state.define(Worker.self, "ulp.Worker") { worker in
      worker.property("pid") { Int64($0.pid) }
      worker.property("ended") { $0.hasEnded }
      // What the body returned and wrote; nothing if the worker did not come to its end.
      worker.method("finish") { worker, _ -> LuaResults in
        guard let (status, output) = worker.finish() else { return .values(LuaNil()) }
        return .values(Int64(status), LuaBytes(output))
      }
      worker.onClose { $0.close() }
    }
    core.function("processors") { _ in Int64(linux_processors()) }
    core.function("worker", "body") { arguments -> LuaBox<Worker>? in
      let body = try arguments.function(1)
      var output: Int32 = -1
      let pid = linux_fork_worker(&output)
      if pid == 0 { run(body, on: arguments.stack) }
      return pid > 0 ? LuaBox(Worker(pid, output)) : nil
    }
  }

  /// In the copy. What fails is not told here: the original does the work again and comes by the same.
  private static func run(_ body: LuaReference, on stack: LuaStack) -> Never {
    var status: Int32 = 255
    if let results = try? body.call(on: stack), case .integer(let value)? = results.first { status = Int32(truncatingIfNeeded: value & 255) }
    linux_end_worker(status)
  }
}

/// A worker as its original sees it. Closed before its end it is killed.
final class Worker {
  let pid: pid_t
  private let output: Int32
  private var isCollected = false

  init(_ pid: pid_t, _ output: Int32) {
    self.pid = pid
    self.output = output
  }

  deinit {
    close()
    Glibc.close(output)
  }

  func close() {
    guard !isCollected else { return }
    kill(pid, SIGKILL)
    _ = collect()
  }

  /// Its status is there to be collected, or was.
  var hasEnded: Bool {
    if isCollected { return true }
    var facts = siginfo_t()
    return waitid(P_PID, id_t(pid), &facts, WEXITED | WNOHANG | WNOWAIT) != 0 || facts.si_signo != 0
  }

  /// Waits for the end.
  func finish() -> (status: Int32, output: [UInt8])? {
    guard !isCollected, let status = collect(), status != 255 else { return nil }
    var facts = stat()
    guard fstat(output, &facts) == 0 else { return nil }
    let size = Int(facts.st_size)
    var bytes = [UInt8](repeating: 0, count: size)
    let count = bytes.withUnsafeMutableBytes { pread(output, $0.baseAddress, size, 0) }
    return count == size || size == 0 ? (status, bytes) : nil
  }

  /// The exit status; nil for a worker that was killed.
  private func collect() -> Int32? {
    isCollected = true
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0 {
      if errno != EINTR { return nil }
    }
    return status & 0x7f == 0 ? (status >> 8) & 0xff : nil
  }
}
