import Diagnostics
import ELF
import Glibc
import Tracing

extension ProcessMemory: MemoryReading {}

/// One object of the target's link map: the program, a library, a container.
public final class LoadedLibrary {
  /// `l_name`, the path the loader opened; of the main program the path of /proc/PID/exe.
  public let path: String
  public let bias: UInt64
  /// Address of the object's dynamic section.
  public let dynamic: UInt64
  public let isMain: Bool
  public let image: RemoteImage
  /// The file that is mapped; nil when that is not certain.
  public let file: MappedFile?
  /// Address of its `struct link_map`, which is glibc's handle on it (dlopen(3), dlclose(3)).
  public let handle: UInt64

  init(path: String, bias: UInt64, dynamic: UInt64, isMain: Bool, image: RemoteImage, file: MappedFile?, handle: UInt64) {
    self.handle = handle
    self.path = path
    self.bias = bias
    self.dynamic = dynamic
    self.isMain = isMain
    self.image = image
    self.file = file
  }

  /// The last component of the path, without the mark of a removed file.
  public var name: String { basename(of: path) }

  /// Whether a patch's target name means this object: its file name or its SONAME, never a part of either.
  public func answers(to wanted: String) -> Bool {
    if name == wanted { return true }
    return !isMain && ((try? image.soname()) ?? nil) == wanted
  }
}

/// The last component of a path.
public func basename(of path: String) -> String {
  path.utf8.lastIndex(of: 0x2f).map { String(path[path.index(after: $0)...]) } ?? path
}

/// Reads the loader's list of objects out of a process: program headers -> PT_DYNAMIC -> DT_DEBUG -> r_debug (gABI and
/// glibc's <link.h>). The list is the target's own memory: bounded, and a cycle is an error.
struct LinkMapReader {
  let pid: pid_t
  let thread: pid_t
  let memory: ProcessMemory
  let executable: String

  static let limit = 4096

  /// AT_PHDR and AT_PHNUM of /proc/PID/auxv (getauxval(3)): the program, and where its program headers are.
  func mainImage() throws(CodedError) -> (image: RemoteImage, place: UInt64) {
    let auxv = try ProcFile.read("/proc/\(thread)/auxv", of: pid, to: "read the auxiliary vector of", limit: 4096)
    var values: [UInt64: UInt64] = [:]
    var offset = 0
    while offset + 16 <= auxv.count {
      let key = word(auxv, offset)
      if key == 0 { break }
      values[key] = word(auxv, offset + 8)
      offset += 16
    }
    guard let headers = values[3], let count = values[5] else { throw .gone(pid) }
    return (try RemoteImage(memory, programHeadersAt: headers, count: Int(clamping: count), name: executable), headers)
  }

  private func word(_ bytes: [UInt8], _ offset: Int) -> UInt64 {
    var value: UInt64 = 0
    for index in (0..<8).reversed() { value = value << 8 | UInt64(bytes[offset + index]) }
    return value
  }

  /// All objects, the program first, and where `r_debug` is. Fails with `process.static`, `process.starting`, `process.corrupt`.
  func read(map: MemoryMap) throws(CodedError) -> (libraries: [LoadedLibrary], debug: UInt64) {
    let main = try mainImage()
    let data: KeyValuePairs<String, DiagnosticValue> = ["pid": .integer(Int64(pid))]
    guard let dynamic = try main.image.dynamicSection(), let debug = dynamic.value(21) else {  // DT_DEBUG
      throw CodedError(.processStatic, "process \(pid) (\(printable(executable))) is statically linked", data: data)
    }
    var reader = PageReader(memory)
    // struct r_debug: int version, pad; link_map *r_map; ... The loader fills both in when it has begun.
    var node = debug == 0 ? 0 : try memory.load(debug &+ 8, as: UInt64.self)
    guard node != 0 else {
      throw CodedError(.processStarting, "process \(pid) (\(printable(executable))) is only being started: nothing is loaded yet", data: data)
    }
    var entries: [Entry] = []
    var seen: Set<UInt64> = []
    while node != 0 {
      guard seen.insert(node).inserted, seen.count <= LinkMapReader.limit else {
        throw CodedError(.processCorrupt, "the link map of process \(pid) is a cycle or too long", data: ["pid": .integer(Int64(pid))])
      }
      // struct link_map: l_addr, l_name, l_ld, l_next, l_prev
      let words = try reader.words(node, count: 4)
      let isMain = entries.isEmpty
      let path = isMain ? LinkMapReader.withoutMark(executable) : String(decoding: try reader.cstring(words[1]), as: UTF8.self)
      // The vDSO is mapped by the kernel and has no file.
      let isFile = isMain || !path.isEmpty && !path.hasPrefix("linux-vdso")
      let base = isFile ? map.imageBase(containing: isMain ? main.place : words[2]) : nil
      entries.append(Entry(path: path, bias: words[0], dynamic: words[2], base: base, handle: node))
      node = words[3]
    }
    return (try libraries(entries, main.image, map), debug)
  }

  /// What the list says of an object.
  private struct Entry {
    let path: String
    let bias: UInt64
    let dynamic: UInt64
    /// Where the file's first byte is mapped.
    let base: UInt64?
    let handle: UInt64
  }

  private func libraries(_ entries: [Entry], _ main: RemoteImage, _ map: MemoryMap) throws(CodedError) -> [LoadedLibrary] {
    let bases = entries.compactMap(\.base)
    let heads = try memory.read(bases, each: MappedFile.headSize)
    var libraries: [LoadedLibrary] = []
    var position = 0
    for (index, entry) in entries.enumerated() {
      var head: [UInt8] = []
      var file: MappedFile?
      if let base = entry.base {
        head = Array(heads[position..<position + MappedFile.headSize])
        position += MappedFile.headSize
        file = map.mapping(containing: base).flatMap { MappedFiles.file(of: $0, beginningWith: head, through: thread) }
      }
      let image: RemoteImage
      if index == 0 {
        image = try RemoteImage(memory, programHeaders: main.programHeaders, bias: main.bias, name: executable, file: file?.file)
      } else {
        guard let base = entry.base else { continue }
        image = try RemoteImage(memory, base: base, name: entry.path, head: head, file: file?.file)
      }
      libraries.append(
        LoadedLibrary(path: entry.path, bias: entry.bias, dynamic: entry.dynamic, isMain: index == 0, image: image, file: file, handle: entry.handle))
    }
    return libraries
  }

  /// The kernel marks the path of a program whose file was removed or replaced; patches name the file that was started.
  private static func withoutMark(_ path: String) -> String {
    let mark = " (deleted)"
    return path.hasSuffix(mark) ? String(path.dropLast(mark.count)) : path
  }
}

/// Reads small things that lie near one another: page by page, each page once.
private struct PageReader {
  private let memory: ProcessMemory
  private var pages: [(start: UInt64, bytes: [UInt8])] = []
  private static let size: UInt64 = 4096

  init(_ memory: ProcessMemory) { self.memory = memory }

  /// Empty for one that cannot be read.
  private mutating func page(of address: UInt64) -> [UInt8] {
    let start = address & ~(PageReader.size - 1)
    if let found = pages.last(where: { $0.start == start }) { return found.bytes }
    let bytes = memory.readPrefix(start, count: Int(PageReader.size))
    pages.append((start, bytes))
    return bytes
  }

  mutating func words(_ address: UInt64, count: Int) throws(CodedError) -> [UInt64] {
    let bytes = page(of: address)
    let first = Int(address % PageReader.size)
    guard first + count * 8 <= bytes.count else { return try memory.load(address, count: count, as: UInt64.self) }
    return (0..<count).map { bytes.integer(at: first + $0 * 8) ?? 0 }
  }

  mutating func cstring(_ address: UInt64) throws(CodedError) -> [UInt8] {
    let bytes = page(of: address)
    let first = Int(address % PageReader.size)
    guard first < bytes.count, let end = bytes[first...].firstIndex(of: 0) else { return try memory.cstring(address) }
    return Array(bytes[first..<end])
  }
}
