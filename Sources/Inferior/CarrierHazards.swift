import Diagnostics
import ELF
import Tracing

/// The code of a process in which a thread may hold locks that loading a container needs: a thread with a frame in it must
/// not be borrowed as carrier. Unchecked, a third of the calls into a malloc-heavy process would deadlock.
struct CarrierHazards {
  /// Half-open address ranges with a word for the operator, ascending.
  let ranges: [(range: Range<UInt64>, reason: String)]

  /// How the word for a sanitizer's runtime begins: where nothing is known of its inside, as with any other allocator.
  private static let sanitizer = "in the sanitizer "
  /// What a library exports that is one.
  private static let sanitizerMarks = ["__asan_init", "__tsan_init", "__lsan_init"]

  /// What glibc's allocator exports. In libc the allocator is one object file of a large text: everything between the
  /// exported functions around these belongs to it, the static `_int_malloc` and its like included.
  static let allocator = [
    "malloc", "free", "calloc", "realloc", "memalign", "aligned_alloc", "valloc", "pvalloc", "posix_memalign", "malloc_trim",
    "malloc_usable_size", "mallinfo", "mallinfo2", "mallopt", "malloc_stats", "malloc_info",
  ]
  /// Functions that hold loader, thread-list or exit locks while they run or call back.
  static let lockHolders = [
    "fork", "_Fork", "vfork", "dl_iterate_phdr", "dlopen", "dlmopen", "dlclose", "dlsym", "dlvsym", "dladdr", "dladdr1",
    "dlinfo", "dlerror", "pthread_create", "pthread_exit", "pthread_join", "__cxa_atexit", "__cxa_thread_atexit_impl", "exit",
    "posix_spawn", "posix_spawnp", "system", "popen",
  ]

  /// Of these, where a thread may wait for long and hold nothing that others need: none to borrow, but no reason to wait for.
  private static let waits: Set<String> = [
    "in pthread_join", "in posix_spawn", "in posix_spawnp", "in system", "in popen", "in exit", "in pthread_exit",
  ]

  /// Where threads wait in a sanitizer's runtime, which stands in for half of the C library beside its allocator: a frame in
  /// one of these says nothing about locks. What is called from there and allocates has a frame of its own.
  static let sanitizerWaits = [
    "read", "pread", "pread64", "readv", "recv", "recvfrom", "recvmsg", "recvmmsg", "accept", "accept4", "write", "writev", "send",
    "sendto", "sendmsg", "connect", "poll", "ppoll", "epoll_wait", "epoll_pwait", "nanosleep", "clock_nanosleep", "sleep", "usleep",
    "pause", "sigsuspend", "sigwait", "sigwaitinfo", "sigtimedwait", "sem_wait", "sem_timedwait", "wait", "waitpid", "wait3", "wait4", "scanf", "vscanf", "fscanf", "vfscanf", "__isoc99_scanf", "__isoc99_vscanf", "__isoc99_fscanf",
    "__isoc99_vfscanf", "fgets", "fread", "getline", "getdelim", "pthread_cond_wait", "pthread_cond_timedwait",
  ]

  /// Where threads wait in the C library while no allocator holds its locks: for others, or for long. Not how allocators wait
  /// for a lock (futex(2), naps).
  static let longWaits = [
    "read", "recv", "recvfrom", "recvmsg", "accept", "accept4", "poll", "ppoll", "select", "pselect", "epoll_wait", "epoll_pwait",
    "sleep", "pause", "sigsuspend", "sigwait", "sigwaitinfo", "sigtimedwait", "sem_wait", "wait", "waitpid", "wait4",
    "pthread_cond_wait", "pthread_cond_timedwait",
  ]

  /// The word for a program that contains its allocator: all of its code, but for what the allocator exports.
  private static let embedding = "in a program with an allocator of its own"
  private static let longWait = "in a long wait"

  init(in process: TargetProcess) throws(CodedError) {
    var found: [(range: Range<UInt64>, reason: String)] = []
    for library in try process.libraries() {
      for (range, reason) in CarrierHazards.knownHazards(of: library) {
        let start = range.lowerBound &+ library.bias
        let (end, overflow) = start.addingReportingOverflow(range.upperBound - range.lowerBound)
        found.append((start..<(overflow ? .max : end), reason))
      }
    }
    ranges = found.sorted { $0.range.lowerBound < $1.range.lowerBound }
  }

  private static func knownHazards(of library: LoadedLibrary) -> [(range: Range<UInt64>, reason: String)] {
    // What is remembered for all processes must come from the file alone.
    guard let file = library.file, (try? file.file.dynamicSymbols()) != nil else { return hazards(of: library) }
    if let known = file.hazards, known.name == library.name { return known.ranges }
    let found = hazards(of: library)
    file.hazards = (library.name, found)
    return found
  }

  /// What a library has of such code, in link addresses: the same wherever it is mapped. What it is goes by its name.
  private static func hazards(of library: LoadedLibrary) -> [(range: Range<UInt64>, reason: String)] {
    let text = library.image.programHeaders.filter { $0.isLoad && $0.isExecutable }.compactMap { header in
      header.end.map { header.address..<$0 }
    }
    if library.name.hasPrefix("ld-linux") || library.name.hasPrefix("ld-2.") { return text.map { ($0, "in the dynamic loader") } }
    guard let symbols = try? library.image.symbols(), let malloc = symbols.symbol(named: "malloc"), malloc.isDefined else { return [] }
    if library.name.hasPrefix("libc.so") || library.name.hasPrefix("libc-2.") { return libcRanges(symbols) }
    if library.isMain { return embeddingRanges(text, symbols) }
    // A replacement allocator: nothing is known of its inside.
    guard sanitizerMarks.contains(where: { symbols.symbol(named: $0)?.isDefined == true }) else {
      return text.map { ($0, "in the allocator of \(library.name)") }
    }
    let waits = ranges(of: sanitizerWaits, symbols)
    return text.flatMap { subtract(waits, from: $0) }.map { ($0, "\(sanitizer)\(library.name)") }
  }

  /// What the allocator exports is in it; all the rest may be.
  private static func embeddingRanges(
    _ text: [Range<UInt64>], _ symbols: SymbolTable
  ) -> [(range: Range<UInt64>, reason: String)] {
    let exported = ranges(of: allocator, symbols)
    return exported.map { ($0, "in the allocator of the program") }
      + text.flatMap { subtract(exported, from: $0) }.map { ($0, embedding) }
  }

  /// The code of these functions, ascending.
  private static func ranges(of names: [String], _ symbols: SymbolTable) -> [Range<UInt64>] {
    var found: [Range<UInt64>] = []
    for name in names {
      guard let symbol = symbols.symbol(named: name), symbol.isDefined, symbol.isCode else { continue }
      let (end, overflow) = symbol.value.addingReportingOverflow(symbol.size)
      if !overflow, symbol.size > 0 { found.append(symbol.value..<end) }
    }
    return found.sorted { $0.lowerBound < $1.lowerBound }
  }

  /// What is left of a range without holes in it; holes ascend and may overlap.
  private static func subtract(_ holes: [Range<UInt64>], from range: Range<UInt64>) -> [Range<UInt64>] {
    var left: [Range<UInt64>] = []
    var start = range.lowerBound
    for hole in holes where hole.overlaps(range) {
      if start < hole.lowerBound { left.append(start..<hole.lowerBound) }
      start = max(start, hole.upperBound)
    }
    if start < range.upperBound { left.append(start..<range.upperBound) }
    return left
  }

  private static func libcRanges(_ symbols: SymbolTable) -> [(range: Range<UInt64>, reason: String)] {
    var lowest = UInt64.max
    var highest: UInt64 = 0
    for name in allocator {
      guard let symbol = symbols.symbol(named: name), symbol.isDefined else { continue }
      lowest = min(lowest, symbol.value)
      highest = max(highest, symbol.value &+ symbol.size)
    }
    var start: UInt64 = 0
    var end = UInt64.max
    symbols.forEachDefined { entry in
      guard entry.isCode else { return }
      let last = entry.value &+ entry.size
      if last <= lowest { start = max(start, last) }
      if entry.value >= highest { end = min(end, entry.value) }
    }
    var ranges: [(range: Range<UInt64>, reason: String)] = []
    if lowest < highest && start < end { ranges.append((start..<end, "in the allocator")) }
    ranges += self.ranges(of: longWaits, symbols).map { ($0, longWait) }
    for name in lockHolders {
      guard let symbol = symbols.symbol(named: name), symbol.isDefined, symbol.size > 0 else { continue }
      let (end, overflow) = symbol.value.addingReportingOverflow(symbol.size)
      if !overflow { ranges.append((symbol.value..<end, "in \(name)")) }
    }
    return ranges
  }

  /// Whether this is in the runtime of a sanitizer, in which every thread but the first one begins.
  static func isSanitizer(_ reason: String) -> Bool { reason.hasPrefix(sanitizer) }

  /// Whether this is in a program that contains its allocator, and not known to be in that: harmless in a long wait.
  static func isEmbedding(_ reason: String) -> Bool { reason == embedding }

  func isLongWait(_ address: UInt64) -> Bool { ranges.contains { $0.range.contains(address) && $0.reason == CarrierHazards.longWait } }

  func reason(at address: UInt64) -> String? {
    for (range, reason) in ranges where range.contains(address) && reason != CarrierHazards.longWait { return reason }
    return nil
  }

  /// The same for a thread that is to stand still while others load: only what can hold their locks counts.
  func lock(at address: UInt64) -> String? {
    reason(at: address).flatMap { CarrierHazards.waits.contains($0) ? nil : $0 }
  }
}
