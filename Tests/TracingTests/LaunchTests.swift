import Diagnostics
import Glibc
import Testing

@testable import Inferior
@testable import Tracing

/// Children are real. One after the other: a child of another test holds our descriptors between its fork and its exec.
@Suite(.serialized) struct LaunchTests {
  private func run(_ command: [String], input: String = "", change: (inout LaunchRequest) -> Void = { _ in }) throws
    -> (text: String, exit: ChildExit?)
  {
    var request = LaunchRequest(command)
    change(&request)
    let child = try LaunchedProcess(request)
    _ = try child.write(Array(input.utf8), seconds: 120)
    child.closeInput()
    var text = ""
    reading: while true {
      switch try child.read(seconds: 120) {
      case .bytes(let bytes): text += String(decoding: bytes, as: UTF8.self)
      case .end: break reading
      case .nothing: continue
      }
    }
    return (text, child.wait(seconds: 120))
  }

  @Test(arguments: [false, true]) func whatGoesInComesOut(terminal: Bool) throws {
    let result = try run(["cat"], input: "one\ntwo\n") { $0.terminal = terminal }
    #expect(result.text == "one\ntwo\n")
    #expect(result.exit == .code(0))
  }

  @Test func theChildHasATerminalOnlyWhenAsked() throws {
    #expect(try run(["sh", "-c", "tty >/dev/null && : </dev/tty"]) { $0.terminal = true }.exit == .code(0))
    #expect(try run(["sh", "-c", "tty >/dev/null"]).exit == .code(1))
  }

  @Test func endsAreTold() throws {
    #expect(try run(["sh", "-c", "exit 7"]).exit == .code(7))
    #expect(try run(["sh", "-c", "kill -USR1 $$"]).exit == .signal(SIGUSR1))
  }

  @Test func aProgramThatCannotStartIsAnError() {
    do {
      _ = try LaunchedProcess(LaunchRequest(["/nonexistent/program"]))
      Issue.record("it started")
    } catch {
      #expect(error.code == .spawnFailed)
      #expect(error.message.contains("No such file"))
    }
  }

  @Test func nothingIsInherited() throws {
    let leaked = open("/dev/null", O_RDONLY)
    defer { close(leaked) }
    // The fourth is the directory that ls itself has open.
    #expect(try run(["ls", "/proc/self/fd"]).text == "0\n1\n2\n3\n")
    var blocked = sigset_t()
    var before = sigset_t()
    sigemptyset(&blocked)
    sigaddset(&blocked, SIGUSR2)
    pthread_sigmask(SIG_BLOCK, &blocked, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    let status = try run(["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]).text
    #expect(status == "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n")
  }

  @Test func environmentAndDirectory() throws {
    let result = try run(["sh", "-c", "echo $LAUNCH_A-$LAUNCH_B; pwd; echo $LD_PRELOAD"]) {
      $0.environment = [("LAUNCH_A", "1"), ("LAUNCH_B", "2"), ("LAUNCH_A", nil), ("LD_PRELOAD", "libm.so.6")]
      $0.directory = "/proc"
      $0.preload = ["libc.so.6"]
    }
    #expect(result.text == "-2\n/proc\nlibc.so.6:libm.so.6\n")
  }

  @Test func closingEndsTheWholeGroup() throws {
    let child = try LaunchedProcess(LaunchRequest(["sh", "-c", "sleep 60 & echo $!; wait"]))
    guard case .bytes(let bytes) = try child.read(seconds: 120),
      let grandchild = Int32(String(decoding: bytes, as: UTF8.self).dropLast())
    else {
      Issue.record("no number came")
      return
    }
    child.close()
    child.close()
    // Killed, and collected soon after, where there is an init that does.
    func isAlive() -> Bool {
      guard let status = ProcFile.read("/proc/\(grandchild)/status"), let state = ProcFile.field("State", of: status) else { return false }
      return state.first != UInt8(ascii: "Z") && state.first != UInt8(ascii: "X")
    }
    for _ in 0..<12_000 where isAlive() { usleep(10_000) }
    #expect(!isAlive())
    #expect(kill(child.pid, 0) != 0)
  }

  @Test func aGoneReaderIsAnErrorNotASignal() throws {
    let child = try LaunchedProcess(LaunchRequest(["true"]))
    #expect(child.wait(seconds: 120) == .code(0))
    #expect(throws: CodedError.self) { try child.write([1], seconds: 1) }
  }
}
