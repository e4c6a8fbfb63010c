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

  init(path: String, bias: UInt64, dynamic: UInt64, isMain: Bool, image: RemoteImage) {
    self.path = path
    self.bias = bias
    self.dynamic = dynamic
    self.isMain = isMain
    self.image = image
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

  /// AT_PHDR and AT_PHNUM of /proc/PID/auxv (getauxval(3)).
  func mainImage() throws(CodedError) -> RemoteImage {
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
    return try RemoteImage(memory, programHeadersAt: headers, count: Int(clamping: count), name: executable)
  }

  private func word(_ bytes: [UInt8], _ offset: Int) -> UInt64 {
    var value: UInt64 = 0
    for index in (0..<8).reversed() { value = value << 8 | UInt64(bytes[offset + index]) }
    return value
  }

  /// All objects, the program first. Fails with `process.static` and `process.corrupt`.
  func read(map: MemoryMap) throws(CodedError) -> [LoadedLibrary] {
    let main = try mainImage()
    guard let dynamic = try main.dynamicSection(), let debug = dynamic.value(21), debug != 0 else {  // DT_DEBUG
      throw CodedError(.processStatic, "process \(pid) (\(printable(executable))) is statically linked or still starting", data: ["pid": .integer(Int64(pid))])
    }
    // struct r_debug: int version, pad; link_map *r_map; ...
    var node = try memory.load(debug &+ 8, as: UInt64.self)
    var libraries: [LoadedLibrary] = []
    var seen: Set<UInt64> = []
    while node != 0 {
      guard seen.insert(node).inserted, seen.count <= LinkMapReader.limit else {
        throw CodedError(.processCorrupt, "the link map of process \(pid) is a cycle or too long", data: ["pid": .integer(Int64(pid))])
      }
      // struct link_map: l_addr, l_name, l_ld, l_next, l_prev
      let words = try memory.load(node, count: 4, as: UInt64.self)
      if let library = try object(words, isFirst: libraries.isEmpty, main: main, map: map) { libraries.append(library) }
      node = words[3]
    }
    return libraries
  }

  /// The kernel marks the path of a program whose file was removed or replaced; patches name the file that was started.
  private static func withoutMark(_ path: String) -> String {
    let mark = " (deleted)"
    return path.hasSuffix(mark) ? String(path.dropLast(mark.count)) : path
  }

  private func object(_ words: [UInt64], isFirst: Bool, main: RemoteImage, map: MemoryMap) throws(CodedError) -> LoadedLibrary? {
    if isFirst { return LoadedLibrary(path: LinkMapReader.withoutMark(executable), bias: words[0], dynamic: words[2], isMain: true, image: main) }
    let path = String(decoding: try memory.cstring(words[1]), as: UTF8.self)
    // The vDSO is mapped by the kernel and has no file.
    guard !path.isEmpty, !path.hasPrefix("linux-vdso"), let base = map.imageBase(containing: words[2]) else { return nil }
    let image = try RemoteImage(memory, base: base, name: path)
    return LoadedLibrary(path: path, bias: words[0], dynamic: words[2], isMain: false, image: image)
  }
}
