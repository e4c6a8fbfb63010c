import Diagnostics
import Glibc
import Testing

@testable import Inferior
@testable import Tracing

@Suite struct ProcessFactsTests {
  @Test func ourOwnFactsAreRight() throws {
    let facts = try ProcessFacts(of: getpid())
    #expect(facts.pid == getpid() && facts.uid == getuid() && facts.threadCount >= 1 && facts.state == "R" || facts.state == "S")
    #expect(facts.tracer == 0 && facts.seccomp >= 0 && facts.namespacePID > 0)
    #expect(try ProcessFacts.startTime(of: getpid()) == ProcessFacts.startTime(of: getpid()))
    #expect(try ProcessFacts.startTime(of: getpid()) > ProcessFacts.startTime(of: 1))
  }

  @Test(arguments: [pid_t(0), -1, 0x3fff_ffff]) func whatIsNoProcessIsNotFound(pid: pid_t) {
    do {
      _ = try ProcessFacts(of: pid)
      Issue.record("there is a process \(pid)")
    } catch { #expect(error.code == .processNotFound) }
  }

  /// /proc/TID exists for threads, too, though no directory lists it.
  @Test func aThreadIsNoProcess() throws {
    let others = ThreadList.read(of: getpid()).filter { $0 != getpid() }
    let other = try #require(others.first, "the test runner has threads")
    #expect(ProcFile.read("/proc/\(other)/status") != nil)
    do {
      _ = try ProcessFacts(of: other)
      Issue.record("a thread was taken for a process")
    } catch { #expect(error.code == .processNotFound) }
  }

  /// The name may be anything: blanks, parentheses, even what looks like the rest of the line.
  @Test func aNameCannotForgeTheStartTime() throws {
    let child = try LaunchedProcess(LaunchRequest(["sh", "-c", "printf ') R 1 1 1' > /proc/self/comm; echo; exec 3>&1; read line"]))
    _ = try child.read(seconds: 120)
    let facts = try ProcessFacts(of: child.pid)
    #expect(facts.comm == ") R 1 1 1")
    let start = try ProcessFacts.startTime(of: child.pid)
    #expect(start >= (try ProcessFacts.startTime(of: getpid())))
    #expect([UInt8(ascii: "S"), UInt8(ascii: "R")].contains(ThreadList.state(of: child.pid, in: child.pid)))
    child.close()
  }
}

@Suite struct ProcFileTests {
  private let status = Array("Name:\ta b\nState:\tS (sleeping)\nTgid:\t12\nTracerPid:\t0\nSigQ:\t\nThreads:\t3".utf8)

  @Test func fieldsAreWholeNames() {
    func text(_ name: StaticString) -> String? { ProcFile.field(name, of: status).map { String(decoding: $0, as: UTF8.self) } }
    #expect(text("Name") == "a b" && text("State") == "S (sleeping)" && text("Threads") == "3")
    #expect(text("Tgi") == nil && text("gid") == nil && text("Pid") == nil && text("Thread") == nil)
    #expect(text("SigQ") == "")
  }

  @Test func numbersEndWhereTheyEnd() {
    func decimal(_ text: String) -> UInt64? { ProcFile.decimal(Array(text.utf8)[...]) }
    #expect(decimal("12 kB") == 12 && decimal("18446744073709551615") == .max)
    #expect(decimal("18446744073709551616") == nil && decimal("") == nil && decimal("x") == nil && decimal("-1") == nil)
    #expect(ProcFile.hexadecimal(Array("7fffff-".utf8)[...]) == 0x7fffff && ProcFile.hexadecimal(Array("FF".utf8)[...]) == nil)
  }

  @Test func readingStopsAtTheLimit() throws {
    #expect(try #require(ProcFile.read("/proc/self/maps", limit: 100)).count == 100)
    #expect(ProcFile.read("/proc/0/maps") == nil)
  }
}
