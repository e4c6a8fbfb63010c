/// Tells which changes of a process the function that was called in it has caused: those for which it has made a system call
/// that can cause them. The other threads of the process ran meanwhile, and what they changed is theirs.
struct ReceiptAttribution {
  private let call: CallReceipt
  private let before, after: ProcessShot
  private let made: Set<UInt64>

  init(_ call: CallReceipt, _ after: ProcessShot) {
    self.call = call
    before = call.process
    self.after = after
    made = Set(call.entries.lazy.filter { $0.succeeded && !ReceiptAttribution.isQuestion($0) }.map(\.number))
  }

  /// sigaction(2) and prlimit(2) without a new value.
  private static func isQuestion(_ entry: CallReceipt.Entry) -> Bool {
    entry.number == 13 && entry.arguments[1] == 0 || entry.number == 302 && entry.arguments[2] == 0
  }

  /// System calls (x86-64) by what they change.
  private static let causes: [String: Set<UInt64>] = [
    "umask": [95], "working directory": [80, 81], "root directory": [155, 161], "limits": [160, 302],
    "ignored signals": [13], "handled signals": [13], "timers": [222, 223, 226],
    "user": [105, 113, 117, 122], "group": [106, 114, 119, 123], "groups": [116], "no_new_privs": [157],
    "inheritable capabilities": [126], "permitted capabilities": [105, 113, 117, 126], "effective capabilities": [105, 113, 117, 126],
    "bounding capabilities": [157], "ambient capabilities": [157], "seccomp": [157, 317], "seccomp filters": [157, 317],
    "oom_score_adj": [1, 18, 20], "personality": [135], "coredump_filter": [1, 18, 20], "name": [1, 157], "huge pages": [157],
  ]

  func tell(_ receipt: Receipt) {
    for (name, value) in before.facts {
      let isOurs = ReceiptAttribution.causes[name].map { !$0.isDisjoint(with: made) } ?? false
      receipt.differ(0, name, value, after.facts.first { $0.name == name }?.value ?? "none", isOurs ? .callee : .others)
    }
    tellDescriptors(receipt)
    tellMappings(receipt)
    tellUnseen(receipt)
  }

  // MARK: - Descriptors

  /// Calls that return one new descriptor: open dup dup2 dup3 socket accept creat openat epoll_create timerfd eventfd
  /// signalfd inotify fcntl memfd_create openat2 pidfd_open io_uring_setup perf_event_open.
  private static let openers: Set<UInt64> = [
    2, 32, 33, 41, 43, 72, 85, 213, 253, 257, 282, 283, 284, 288, 289, 290, 291, 292, 294, 298, 319, 425, 434, 437,
  ]

  private func tellDescriptors(_ receipt: Receipt) {
    let opened = Set(call.entries.lazy.filter { ReceiptAttribution.openers.contains($0.number) && $0.succeeded }.map { Int32(truncatingIfNeeded: $0.result) })
    // pipe, pipe2 and socketpair tell their descriptors through memory.
    let openedPairs = !made.isDisjoint(with: [22, 53, 293])
    var closed = Set(call.entries.lazy.filter { $0.number == 3 }.map { Int32(truncatingIfNeeded: $0.arguments[0]) })
    for entry in call.entries where entry.number == 33 || entry.number == 292 { closed.insert(Int32(truncatingIfNeeded: entry.arguments[1])) }
    let closedRanges = made.contains(436)
    // Memory files that containers come in are made by one call and closed by the next.
    func isOurs(_ target: String) -> Bool { target.hasPrefix("/memfd:ulpsh-") }
    for (number, target) in after.descriptors where before.descriptors[number] == nil && !isOurs(target) {
      receipt.differ(0, "descriptor \(number)", "closed", target, opened.contains(number) || openedPairs ? .callee : .others)
    }
    for (number, target) in before.descriptors {
      if isOurs(target), after.descriptors[number] == nil { continue }
      let cause: ReceiptDifference.Cause = closedRanges || closed.contains(number) ? .callee : .others
      receipt.differ(0, "descriptor \(number)", target, after.descriptors[number] ?? "closed", cause)
    }
  }

  // MARK: - Mappings

  private func tellMappings(_ receipt: Receipt) {
    for entry in call.entries where entry.succeeded {
      let words = entry.arguments
      switch entry.number {
      case 9 where words[2] & 6 == 6, 10 where words[2] & 6 == 6, 329 where words[2] & 6 == 6:
        let start = entry.number == 9 ? UInt64(bitPattern: entry.result) : words[0]
        receipt.differ(0, "mapping", "none", "\(hex(start)), \(words[1]) bytes, writable and executable", .callee)
      case 10, 329: tellProtection(words[0], words[1], receipt)
      case 9 where words[3] & 0x10 != 0: tellProtection(words[0], words[1], receipt)  // MAP_FIXED
      default: break
      }
    }
  }

  /// A protection of something that was there before. An allocator makes its reserved room accessible in this way, so
  /// anonymous memory that nobody could access is expected to change.
  private func tellProtection(_ start: UInt64, _ length: UInt64, _ receipt: Receipt) {
    let (end, overflow) = start.addingReportingOverflow(length)
    guard !overflow, start < end else { return }
    for mapping in before.mappings where mapping.range.overlaps(start..<end) && !(mapping.path.isEmpty && mapping.permissions == "---p") {
      let place = max(start, mapping.range.lowerBound)
      guard let now = after.mappings.first(where: { $0.range.contains(place) }) else { continue }
      if now.permissions != mapping.permissions || now.content != mapping.content {
        receipt.differ(0, "mapping", mapping.description, now.description, .callee)
      }
    }
  }

  // MARK: - What nobody sees from outside

  /// The runtime takes back what the callee has set (guest.c).
  private func isRuntimes(_ entry: CallReceipt.Entry) -> Bool {
    let home = before.mappings.first { $0.range.contains(entry.place) }?.path ?? ""
    return home.split(separator: "/").last?.hasPrefix("libpulp.so") == true
  }

  private func tellUnseen(_ receipt: Receipt) {
    if call.entries.last(where: { $0.succeeded && $0.number == 131 && $0.arguments[0] != 0 }).map(isRuntimes) == false {
      receipt.differ(call.tid, "alternate stack", "as it was", "set by sigaltstack", .callee)
    }
    for entry in call.entries where entry.succeeded && !isRuntimes(entry) {
      let words = entry.arguments
      switch entry.number {
      case 37, 38: receipt.differ(0, "interval timer", "as it was", entry.number == 37 ? "set by alarm" : "set by setitimer", .callee)
      case 13 where words[1] != 0:
        receipt.differ(0, "action of signal \(words[0])", "as it was", "set by sigaction", .callee)
      case 273: receipt.differ(call.tid, "robust list", "as it was", "set by set_robust_list", .callee)
      case 56 where words[0] & 0x10000 != 0: receipt.differ(0, "threads", "as they were", "thread \(entry.result) started", .callee)
      case 56, 57, 58: receipt.differ(0, "children", "as they were", "process \(entry.result) started", .callee)
      case 435: receipt.differ(0, "threads and children", "as they were", "\(entry.result) started", .callee)
      default: break
      }
    }
  }
}
