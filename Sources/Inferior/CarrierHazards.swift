import Diagnostics
import ELF
import Tracing

/// The code of a process in which a thread may hold locks that loading a container needs: a thread with a frame in it must
/// not be borrowed as carrier. Unchecked, a third of the calls into a malloc-heavy process would deadlock.
struct CarrierHazards {
  /// Half-open address ranges with a word for the operator, ascending.
  let ranges: [(range: Range<UInt64>, reason: String)]

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

  /// Where threads wait in a sanitizer's runtime, which stands in for half of the C library beside its allocator: a frame in
  /// one of these says nothing about locks. What is called from there and allocates has a frame of its own.
  static let sanitizerWaits = [
    "read", "pread", "pread64", "readv", "recv", "recvfrom", "recvmsg", "accept", "accept4", "poll", "ppoll", "epoll_wait",
    "epoll_pwait", "nanosleep", "clock_nanosleep", "sleep", "usleep", "sigwait", "sigwaitinfo", "sigtimedwait", "sem_wait",
    "wait", "waitpid", "wait4", "scanf", "vscanf", "fscanf", "vfscanf", "__isoc99_scanf", "__isoc99_vscanf", "__isoc99_fscanf",
    "__isoc99_vfscanf", "fgets", "fread", "getline", "getdelim", "pthread_cond_wait", "pthread_cond_timedwait",
  ]

  init(in process: TargetProcess) throws(CodedError) {
    var found: [(range: Range<UInt64>, reason: String)] = []
    for library in try process.libraries() {
      if library.name.hasPrefix("ld-linux") || library.name.hasPrefix("ld-2.") {
        found += library.image.textRanges.map { ($0, "in the dynamic loader") }
        continue
      }
      guard let symbols = try? library.image.symbols(), let malloc = symbols.symbol(named: "malloc"), malloc.isDefined else { continue }
      if library.name.hasPrefix("libc.so") || library.name.hasPrefix("libc-2.") {
        found += CarrierHazards.libcRanges(symbols, library.bias)
      } else {
        // A replacement allocator: nothing is known of its inside.
        let waits = CarrierHazards.waits(symbols, library.bias)
        for range in library.image.textRanges {
          found += CarrierHazards.subtract(waits, from: range).map { ($0, "in the allocator of \(library.name)") }
        }
      }
    }
    ranges = found.sorted { $0.range.lowerBound < $1.range.lowerBound }
  }

  /// The ranges of `sanitizerWaits`, ascending; none in an allocator that is nothing but that.
  private static func waits(_ symbols: SymbolTable, _ bias: UInt64) -> [Range<UInt64>] {
    guard symbols.symbol(named: "__asan_init")?.isDefined == true else { return [] }
    var found: [Range<UInt64>] = []
    for name in sanitizerWaits {
      guard let symbol = symbols.symbol(named: name), symbol.isDefined, symbol.isCode else { continue }
      let first = symbol.value &+ bias
      let (end, overflow) = first.addingReportingOverflow(symbol.size)
      if !overflow, symbol.size > 0 { found.append(first..<end) }
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

  private static func libcRanges(_ symbols: SymbolTable, _ bias: UInt64) -> [(range: Range<UInt64>, reason: String)] {
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
    if lowest < highest && start < end { ranges.append(((start &+ bias)..<(end &+ bias), "in the allocator")) }
    for name in lockHolders {
      guard let symbol = symbols.symbol(named: name), symbol.isDefined, symbol.size > 0 else { continue }
      let first = symbol.value &+ bias
      ranges.append((first..<(first &+ symbol.size), "in \(name)"))
    }
    return ranges
  }

  func reason(at address: UInt64) -> String? {
    for (range, reason) in ranges where range.contains(address) { return reason }
    return nil
  }
}
