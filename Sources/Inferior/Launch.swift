import CLinux
import Diagnostics
import Glibc

/// What to start and how: the value a `LaunchedProcess` is made from.
public struct LaunchRequest: Sendable {
  /// The program and its arguments; a name without a slash is looked for in `PATH`.
  public var command: [String]
  /// Changes to the environment we have ourselves, in order; `nil` removes a variable.
  public var environment: [(name: String, value: String?)] = []
  /// Libraries for `LD_PRELOAD`, put before those that the environment names already.
  public var preload: [String] = []
  public var directory: String?
  /// Talk through a pseudo terminal, as a person would, instead of through pipes.
  public var terminal = false
  /// Standard error joins standard output; otherwise it stays ours.
  public var joinsErrors = true

  public init(_ command: [String]) { self.command = command }
}

/// How a child ended.
public enum ChildExit: Sendable, Equatable {
  case code(Int32)
  case signal(Int32)
  /// Somebody else collected it, for example because it was traced when it ended.
  case unknown
}

/// A child of ours and the two ends of the conversation with it.
///
/// It lives in a session of its own, inherits no descriptor but its three, and is killed when we end, however that
/// happens: nothing that a test or a demonstration starts is left over.
public final class LaunchedProcess {
  public let pid: Int32
  private var input: Int32
  private var output: Int32
  private let pidfd: Int32
  private var ended: ChildExit?

  public init(_ request: LaunchRequest) throws(CodedError) {
    guard let name = request.command.first, !request.command.contains(where: { $0.utf8.contains(0) }) else {
      throw CodedError(.spawnFailed, "no program was named, or an argument contains a NUL byte")
    }
    let path = LaunchedProcess.locate(name)
    var ends = try Channels(terminal: request.terminal, program: name)
    defer { ends.closeChildEnds() }
    let started = LaunchedProcess.start(path, request, ends)
    guard started > 0 else {
      ends.closeOwnEnds()
      throw CodedError(
        .spawnFailed, "cannot start \(printable(name)): \(String(cString: strerror(-started)))",
        data: ["path": .text(path), "errno": .integer(Int64(-started))])
    }
    pid = started
    input = ends.toChild
    output = ends.fromChild
    pidfd = linux_pidfd_open(started)
  }

  deinit { close() }

  // MARK: The conversation

  public enum Output: Equatable {
    case bytes([UInt8])
    /// The child has closed its side.
    case end
    /// Nothing within the time, or a signal came in: the caller decides whether to go on waiting.
    case nothing
  }

  /// What the child has written, as soon as there is any.
  public func read(seconds: Double) throws(CodedError) -> Output {
    guard output >= 0 else { return .end }
    guard LaunchedProcess.poll([(output, Int16(POLLIN))], seconds: seconds).first == true else { return .nothing }
    var buffer = [UInt8](repeating: 0, count: 65536)
    let count = Glibc.read(output, &buffer, buffer.count)
    if count > 0 { return .bytes(Array(buffer[..<count])) }
    // A terminal whose other side is closed says EIO where a pipe says 0.
    if count == 0 || errno == EIO { return .end }
    if errno == EAGAIN || errno == EINTR { return .nothing }
    throw CodedError(.spawnFailed, "cannot read from process \(pid): \(String(cString: strerror(errno)))")
  }

  /// Writes as much as the child takes within the time, and says how much that was.
  public func write(_ bytes: [UInt8], seconds: Double) throws(CodedError) -> Int {
    let deadline = LaunchedProcess.now() + seconds
    var done = 0
    while done < bytes.count, input >= 0 {
      let left = deadline - LaunchedProcess.now()
      guard left > 0, LaunchedProcess.poll([(input, Int16(POLLOUT))], seconds: left).first == true else { break }
      let count = bytes.withUnsafeBytes { linux_write_quietly(input, $0.baseAddress! + done, $0.count - done) }
      if count > 0 {
        done += count
      } else if count != -Int(EAGAIN) && count != -Int(EINTR) {
        throw CodedError(
          .spawnFailed, "cannot write to process \(pid): \(String(cString: strerror(Int32(-count))))",
          hint: "it has ended or closed its input")
      }
    }
    return done
  }

  /// Ends the child's input; a terminal has only one side and is told with Ctrl-D.
  public func closeInput() {
    guard input >= 0 else { return }
    if input == output {
      var endOfFile: UInt8 = 4
      _ = linux_write_quietly(input, &endOfFile, 1)
    } else {
      Glibc.close(input)
    }
    input = -1
  }

  // MARK: The end

  /// How the child ended, if it does within the time.
  public func wait(seconds: Double) -> ChildExit? {
    if let ended { return ended }
    if pidfd >= 0 { _ = LaunchedProcess.poll([(pidfd, Int16(POLLIN))], seconds: seconds) }
    var code: Int32 = 0
    switch linux_collect_child(pid, &code) {
    case 0: return nil
    case 1: ended = .code(code)
    case 2: ended = .signal(code)
    default: ended = .unknown
    }
    return ended
  }

  /// Sends a signal, to the whole group if asked; false when there is nobody left to get it.
  @discardableResult
  public func send(signal: Int32, group: Bool = false) -> Bool {
    // Once collected, the number may belong to somebody else.
    if ended != nil && !group { return false }
    return Glibc.kill(group ? -pid : pid, signal) == 0
  }

  /// Kills what is left of the child and its group, collects it and closes the channels. Harmless when repeated.
  public func close() {
    if ended == nil {
      send(signal: SIGKILL, group: true)
      send(signal: SIGKILL)
      // Not for ever: a child in uninterruptible sleep must not take us with it.
      _ = wait(seconds: 2)
    }
    if input >= 0 && input != output { Glibc.close(input) }
    if output >= 0 { Glibc.close(output) }
    input = -1
    output = -1
    if pidfd >= 0 && !pidfdClosed { Glibc.close(pidfd) }
    pidfdClosed = true
  }
  private var pidfdClosed = false

  // MARK: Several at once

  /// Waits until one of the children has output or has ended; returns those.
  public static func ready(_ children: [LaunchedProcess], seconds: Double) -> [LaunchedProcess] {
    var watched: [(Int32, Int16)] = []
    for child in children {
      watched.append((child.output, Int16(POLLIN)))
      watched.append((child.ended == nil ? child.pidfd : -1, Int16(POLLIN)))
    }
    let answers = poll(watched, seconds: seconds)
    return children.indices.filter { answers[2 * $0] || answers[2 * $0 + 1] }.map { children[$0] }
  }

  /// Makes orphans of our children ours, so that `killOrphans` can find them.
  public static func adoptOrphans() { _ = linux_adopt_orphans() }

  /// Kills and collects every child of ours that is not among `known`; returns how many had to be killed. Those that were killed
  /// with their group a moment ago are given two seconds to end, which a busy machine may need; one that cannot be killed (a
  /// control group has frozen it) is left after two more.
  public static func killOrphans(known: Set<Int32>) -> Int {
    let orphans = everyProcess().filter { !known.contains($0) && parent(of: $0) == getpid() }
    let left = stillAlive(orphans, seconds: 2)
    for pid in left { Glibc.kill(pid, SIGKILL) }
    _ = stillAlive(left, seconds: 2)
    return left.count
  }

  /// Collects children as they end; those that are left when the time is over.
  private static func stillAlive(_ children: [Int32], seconds: Double) -> [Int32] {
    let deadline = now() + seconds
    var alive = children
    while true {
      alive.removeAll { waitpid($0, nil, WNOHANG) != 0 }
      if alive.isEmpty || now() >= deadline { return alive }
      usleep(1000)
    }
  }

  private static func everyProcess() -> [Int32] {
    guard let directory = opendir("/proc") else { return [] }
    defer { closedir(directory) }
    var found: [Int32] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if let pid = Int32(name) { found.append(pid) }
    }
    return found
  }

  /// The fourth field of /proc/PID/stat; the second may hold anything but ends at the last parenthesis.
  private static func parent(of pid: Int32) -> Int32? {
    let file = open("/proc/\(pid)/stat", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return nil }
    defer { Glibc.close(file) }
    var buffer = [UInt8](repeating: 0, count: 1024)
    let count = Glibc.read(file, &buffer, buffer.count)
    guard count > 0, let name = buffer[..<count].lastIndex(of: UInt8(ascii: ")")) else { return nil }
    let fields = buffer[(name + 1)..<count].split(separator: UInt8(ascii: " "))
    return fields.count > 1 ? Int32(String(decoding: fields[1], as: UTF8.self)) : nil
  }

  // MARK: Helpers

  static func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  /// poll(2): which of the descriptors have something to tell; none if a signal came in first.
  private static func poll(_ watched: [(Int32, Int16)], seconds: Double) -> [Bool] {
    var entries = watched.map { pollfd(fd: $0.0, events: $0.1, revents: 0) }
    // Rounded up: a wait of less than a millisecond must not become a busy loop.
    let milliseconds = Int32(min(max(0, (seconds * 1000).rounded(.up)), 3_600_000))
    guard Glibc.poll(&entries, nfds_t(entries.count), milliseconds) > 0 else { return watched.map { _ in false } }
    return entries.map { $0.revents != 0 }
  }

  private static func locate(_ name: String) -> String {
    if name.contains("/") { return name }
    let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin"
    for directory in path.split(separator: ":") where access("\(directory)/\(name)", X_OK) == 0 {
      return "\(directory)/\(name)"
    }
    return name
  }

  private static func start(_ path: String, _ request: LaunchRequest, _ ends: Channels) -> Int32 {
    var arguments: [UnsafeMutablePointer<CChar>?] = request.command.map { strdup($0) } + [nil]
    var variables: [UnsafeMutablePointer<CChar>?] = environment(request).map { strdup($0) } + [nil]
    defer {
      arguments.forEach { free($0) }
      variables.forEach { free($0) }
    }
    func launch(_ directory: UnsafePointer<CChar>?) -> Int32 {
      path.withCString { path in
        arguments.withUnsafeMutableBufferPointer { arguments in
          variables.withUnsafeMutableBufferPointer { variables in
            var raw = linux_spawn_request(
              path: path, argv: arguments.baseAddress!, envp: variables.baseAddress!, directory: directory,
              input: ends.childInput, output: ends.childOutput, error: request.joinsErrors ? ends.childOutput : 2,
              terminal: request.terminal ? 1 : 0)
            return linux_spawn(&raw)
          }
        }
      }
    }
    return request.directory.map { $0.withCString(launch) } ?? launch(nil)
  }

  private static func environment(_ request: LaunchRequest) -> [String] {
    var names: [String] = []
    var values: [String: String] = [:]
    func set(_ name: String, _ value: String?) {
      if values[name] == nil { names.append(name) }
      values[name] = value
    }
    var entry = environ
    while let text = entry.pointee {
      let whole = String(cString: text)
      if let sign = whole.firstIndex(of: "=") { set(String(whole[..<sign]), String(whole[whole.index(after: sign)...])) }
      entry += 1
    }
    for change in request.environment { set(change.name, change.value) }
    if !request.preload.isEmpty {
      let inherited = values["LD_PRELOAD"].map { $0.isEmpty ? [] : [$0] } ?? []
      set("LD_PRELOAD", (request.preload + inherited).joined(separator: ":"))
    }
    var seen: Set<String> = []
    return names.compactMap { name in
      guard let value = values[name], seen.insert(name).inserted else { return nil }
      return "\(name)=\(value)"
    }
  }
}

/// The descriptors of both sides, until the child has its own.
private struct Channels {
  var toChild: Int32 = -1
  var fromChild: Int32 = -1
  var childInput: Int32 = -1
  var childOutput: Int32 = -1

  init(terminal: Bool, program: String) throws(CodedError) {
    var failure: Int32 = 0
    if terminal {
      failure = -linux_open_terminal(&toChild, &childInput)
      fromChild = toChild
      childOutput = childInput
    } else {
      var down: [Int32] = [-1, -1]
      var up: [Int32] = [-1, -1]
      failure = -linux_pipe(&down)
      if failure == 0 { failure = -linux_pipe(&up) }
      (childInput, toChild, fromChild, childOutput) = (down[0], down[1], up[0], up[1])
    }
    if failure != 0 {
      closeChildEnds()
      closeOwnEnds()
      throw CodedError(
        .spawnFailed, "no channel for \(printable(program)): \(String(cString: strerror(failure)))",
        data: ["errno": .integer(Int64(failure))])
    }
    for end in [toChild, fromChild] { _ = fcntl(end, F_SETFL, fcntl(end, F_GETFL) | O_NONBLOCK) }
  }

  mutating func closeChildEnds() {
    if childInput >= 0 { close(childInput) }
    if childOutput >= 0 && childOutput != childInput { close(childOutput) }
    (childInput, childOutput) = (-1, -1)
  }

  func closeOwnEnds() {
    if toChild >= 0 { close(toChild) }
    if fromChild >= 0 && fromChild != toChild { close(fromChild) }
  }
}
