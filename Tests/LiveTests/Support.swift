import CLinux
import Diagnostics
import Foundation
import Glibc
import Testing

@testable import Inferior
@testable import LivePatch
@testable import Tracing

/// All tests that stop other processes, one after the other: the attendant serves one thread's tracees at a time.
///
/// Their bodies are synchronous: ptrace(2) belongs to the OS thread that attached.
@Suite(.serialized) struct Live {}

/// Programs, libraries and containers of Tests/targets, made when first needed.
enum Targets {
  static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path
  static let runtime = root + "/.build/debug/libpulp.so"
  private static let directory: String = {
    let status = system("make -s -C '\(root)/Tests/targets' >&2")
    precondition(status == 0, "the targets cannot be built")
    return root + "/.build/targets"
  }()

  static func path(_ name: String) -> String { directory + "/" + name }

  /// A container of its own, packed as Tests/targets/NAME.dsc says.
  static func container(_ name: String) throws -> Container {
    let place = temporary + "/\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
    var lines = try String(contentsOfFile: path(name + ".dsc"), encoding: .utf8).split(separator: "\n").map(String.init)
    let copy = place + "/\(name).so"
    try FileManager.default.copyItem(atPath: path(lines[0]), toPath: copy)
    lines[0] = copy
    lines[1] = "@" + path(String(lines[1].dropFirst()))
    let description = place + "/\(name).dsc"
    try (lines.joined(separator: "\n") + "\n").write(toFile: description, atomically: true, encoding: .utf8)
    return try Container(path: try Packer.pack(descriptionPath: description).path)
  }

  private static let temporary: String = {
    let place = NSTemporaryDirectory() + "/ulpsh-live-\(getpid())"
    atexit { try? FileManager.default.removeItem(atPath: NSTemporaryDirectory() + "/ulpsh-live-\(getpid())") }
    return place
  }()
}

/// A running target with our runtime in it.
final class Target {
  let child: LaunchedProcess
  let process: TargetProcess
  let runtime: PulpRuntime
  private var text = ""

  init(_ command: String...) throws {
    var request = LaunchRequest([Targets.path(command[0])] + command.dropFirst())
    request.preload = [Targets.runtime]
    child = try LaunchedProcess(request)
    try Target.awaitLine("ready", from: child)
    // The leader of `leader_exit` may be ending just now: its memory goes before it is a zombie.
    var found: (process: TargetProcess, runtime: PulpRuntime)?
    for _ in 0..<2000 where found == nil {
      found = try? Target.look(child.pid)
      if found == nil { usleep(5000) }
    }
    (process, runtime) = try found ?? Target.look(child.pid)
  }

  private static func look(_ pid: pid_t) throws -> (TargetProcess, PulpRuntime) {
    let process = try TargetProcess(attachingTo: pid)
    return (process, try PulpRuntime(in: process))
  }

  deinit { child.close() }

  var pid: pid_t { child.pid }

  private static func awaitLine(_ line: String, from child: LaunchedProcess) throws {
    var seen = ""
    let deadline = Deadline.patient
    while !deadline.hasPassed {
      if case .bytes(let bytes) = try child.read(seconds: 0.01) { seen += String(decoding: bytes, as: UTF8.self) }
      if seen.hasSuffix(line + "\n") { return }
    }
    throw Missing("'\(line)' did not come: \(seen)")
  }

  /// Says a word and returns the line that comes back.
  func ask(_ word: String) throws -> String {
    _ = try child.write(Array((word + "\n").utf8), seconds: patience)
    var seen = ""
    let deadline = Deadline.patient
    while !deadline.hasPassed {
      if case .bytes(let bytes) = try child.read(seconds: 0.01) { seen += String(decoding: bytes, as: UTF8.self) }
      if seen.hasSuffix("\n") { return String(seen.dropLast()) }
    }
    throw Missing("no answer to '\(word)': \(seen) (\(child.wait(seconds: 0).map { "\($0)" } ?? "alive"))")
  }

  /// Ends the program politely.
  func finish() throws {
    child.closeInput()
    guard child.wait(seconds: patience) == .code(0) else { throw Missing("the target did not end well") }
  }

  // MARK: Its variables

  func address(_ name: String) throws -> UInt64 { try #require(try process.symbol(name), "\(name) is not exported") }
  func integer(_ name: String, _ index: Int = 0) throws -> Int32 {
    try process.memory.load(try address(name) + UInt64(index * 4), as: Int32.self)
  }
  func set(_ name: String, _ value: Int32) throws { try process.memory.store(value, to: try address(name)) }

  func wait(_ what: String, seconds: Double = patience, until condition: () throws -> Bool) throws {
    let deadline = Deadline(afterMicroseconds: UInt64(seconds * 1e6))
    while try !condition() {
      if deadline.hasPassed { throw Missing("\(what) (\(child.wait(seconds: 0).map { "\($0)" } ?? "alive"))") }
      ul_attend_sleep(200)
    }
  }

  // MARK: Its state as the kernel shows it

  func states() -> [Character] {
    ThreadList.read(of: pid).compactMap { ThreadList.state(of: $0, in: pid).map { Character(UnicodeScalar($0)) } }
  }

  /// Nothing is stopped or traced.
  var isUnharmed: Bool {
    for tid in ThreadList.read(of: pid) {
      guard let status = ProcFile.read("/proc/\(pid)/task/\(tid)/status") else { continue }
      if ProcFile.field("TracerPid", of: status).flatMap(ProcFile.decimal) != 0 { return false }
      if let state = ThreadList.state(of: tid, in: pid), "tT".utf8.contains(state) { return false }
    }
    return child.wait(seconds: 0) == nil
  }

  // MARK: Patching

  func plan(_ containers: [Container], reverting: [Container] = []) throws -> PatchPlan {
    process.refresh()
    return try PatchPlanner(try PulpRuntime(in: process)).plan(applying: containers, reverting: reverting.map(\.id))
  }

  func stage(_ containers: [Container], reverting: [Container] = []) throws -> PatchOperation {
    var options = StageOptions()
    options.timeout = patienceMicroseconds
    let plan = try plan(containers, reverting: reverting)
    return try patiently { try PatchOperation.stage(plan, runtime, options) }
  }

  /// Applies or reverts, all steps.
  func change(_ containers: [Container], reverting: [Container] = []) throws {
    let operation = try stage(containers, reverting: reverting)
    try insistentSwitch(operation)
    try operation.patientSettle()
    _ = try operation.unload(timeout: patienceMicroseconds)
  }

  /// A busy thread may be inside for some microseconds.
  func insistentSwitch(_ operation: PatchOperation) throws {
    let deadline = Deadline.patient
    while !deadline.hasPassed {
      if try operation.performSwitch(.patient).switched { return }
      usleep(300)
    }
    throw Missing("no switch")
  }

  func entryBytes(_ entry: UInt64) throws -> [UInt8] {
    try process.memory.read(entry - UInt64(EntryForm.before), count: EntryForm.before + EntryForm.after)
  }
}

/// Seconds after which something will not come any more. A busy machine may leave a process alone for long.
let patience = 120.0
let patienceMicroseconds = UInt64(patience * 1e6)

extension Deadline {
  static var patient: Deadline { Deadline(afterMicroseconds: patienceMicroseconds) }
}

extension SwitchOptions {
  /// Waits longer for the threads to stop than anybody would with a program that earns money.
  static var patient: SwitchOptions {
    var options = SwitchOptions()
    options.maxPause = patienceMicroseconds
    return options
  }
}

extension PatchOperation {
  func patientSettle() throws { try patiently { try settle() } }
}

/// Asks again for what ulpsh gives up soon, for the program's sake, when a thread gets no processor to stop on.
func patiently<Result>(_ body: () throws -> Result) throws -> Result {
  let deadline = Deadline.patient
  while true {
    do { return try body() } catch {
      guard [.processUnstoppable, .carrierNone].contains((error as? CodedError)?.code), !deadline.hasPassed else { throw error }
      usleep(10_000)
    }
  }
}

/// tgkill(2), since glibc 2.30; Swift's Glibc module leaves it out.
@_silgen_name("tgkill") func tgkill(_ pid: pid_t, _ tid: pid_t, _ signal: Int32) -> Int32

struct Missing: Error, CustomStringConvertible {
  let description: String
  init(_ text: String) { description = text }
}

/// The code with which `body` fails, nil when it does not.
func failure(_ body: () throws -> Void) -> ErrorCode? {
  do {
    try body()
    return nil
  } catch { return (error as? CodedError)?.code ?? .usage }
}

func registers(of tid: pid_t, in session: borrowing TraceSession) throws -> Registers {
  guard let found = session.registers(of: tid) else { throw Missing("thread \(tid) is not stopped") }
  return found
}
