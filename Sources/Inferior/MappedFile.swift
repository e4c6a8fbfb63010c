import CDw
import Diagnostics
import ELF
import Glibc
import Tracing

/// A file that processes have mapped, with what depends on it alone: symbol tables, versions, libdw's view of it, places of
/// code. Read once for all processes of a fleet.
///
/// What a process has mapped is this file when device and inode are the same, and its first page, with the build ID in it, is
/// the same byte for byte. The file is held open: its inode number goes to no other file meanwhile. It is read, not the
/// memory of one process, so that what one has done to its memory concerns no other.
public final class MappedFile {
  public let file: ELFFile
  let identity: FileIdentity
  /// Where the first PT_LOAD has file offset 0, the address of the file's first byte is all that libdw has to know.
  let isUniform: Bool
  private let head: [UInt8]
  private let stamp: FileStamp
  private var handle: OpaquePointer?
  private var hasTriedHandle = false
  /// Ranges of link addresses by `CarrierHazards`, for a library of this name.
  var hazards: (name: String, ranges: [(range: Range<UInt64>, reason: String)])?

  /// What is compared of each image.
  static let headSize = 4096

  /// Nil for a file that cannot be opened, is another one, or whose first page does not tell its build ID.
  fileprivate init?(_ mapping: Mapping, through thread: pid_t) {
    let identity = FileIdentity(device: mapping.device, inode: mapping.inode)
    guard let file = try? ELFFile(path: mapping.openablePath(through: thread)), mapping.shows(file.identity, file.bytes.descriptor),
      let stamp = FileStamp(file.bytes.descriptor), let head = try? file.bytes.read(0, count: min(file.bytes.size, MappedFile.headSize)),
      MappedFile.tellsBuildID(file, head)
    else { return nil }
    self.file = file
    self.identity = identity
    self.stamp = stamp
    self.head = head
    let first = file.programHeaders.first { $0.isLoad }
    isUniform = first.map { $0.offset == 0 && $0.alignment > 0 && $0.address % $0.alignment == 0 } ?? false
  }

  deinit { if let handle { ul_elf_close(handle) } }

  /// Headers and build ID must be among the bytes that are compared.
  private static func tellsBuildID(_ file: ELFFile, _ head: [UInt8]) -> Bool {
    let header = file.header
    guard header.programHeaderOffset <= UInt64(head.count),
      UInt64(header.programHeaderCount * ProgramHeader.size) <= UInt64(head.count) - header.programHeaderOffset
    else { return false }
    return file.programHeaders.contains { note in
      guard note.isNote, note.offset <= UInt64(head.count), note.fileSize <= UInt64(head.count) - note.offset else { return false }
      let bytes = Array(head[Int(note.offset)..<Int(note.offset + note.fileSize)])
      return BuildID(notes: bytes, alignment: note.alignment) != nil
    }
  }

  fileprivate var isUnchanged: Bool { FileStamp(file.bytes.descriptor) == stamp }

  /// Whether this is what an image in memory begins with.
  fileprivate func begins(like image: [UInt8]) -> Bool {
    image.count == head.count ? image == head : image.count > head.count && Array(image[..<head.count]) == head
  }

  /// libdw's handle for the file; nil without libdw.
  var elf: OpaquePointer? {
    if hasTriedHandle { return handle }
    hasTriedHandle = true
    handle = ul_elf_open(file.bytes.descriptor)
    return handle
  }
}

/// The files that are known. Few, because each is held open and keeps its tables.
enum MappedFiles {
  /// Processes are worked on by one OS thread.
  nonisolated(unsafe) private static var known: [FileIdentity: MappedFile] = [:]
  private static let limit = 48
  private static let tableLimit = 6 << 20

  /// The file of the mapping at an image's beginning; nil when it is not known to be that. `head` is what the image begins with.
  static func file(of mapping: Mapping, beginningWith head: [UInt8], through thread: pid_t) -> MappedFile? {
    let identity = FileIdentity(device: mapping.device, inode: mapping.inode)
    if let found = known[identity] {
      if found.isUnchanged { return found.begins(like: head) ? found : nil }
      known[identity] = nil
    }
    guard let file = MappedFile(mapping, through: thread), file.begins(like: head) else { return nil }
    if known.count >= limit || known.values.reduce(0, { $0 + $1.file.tableBytes }) > tableLimit { known.removeAll() }
    known[identity] = file
    return file
  }

  /// A file that was found by `file(of:beginningWith:)` and has not been written to since.
  static func known(_ identity: FileIdentity) -> MappedFile? {
    guard let found = known[identity], found.isUnchanged else { return nil }
    return found
  }

  nonisolated(unsafe) private static var users = 0

  /// Held by every process that is looked into. With the last of them the files are closed: as long as they are open, their
  /// file systems cannot be unmounted.
  final class Use {
    init() { MappedFiles.users += 1 }

    deinit {
      MappedFiles.users -= 1
      if MappedFiles.users == 0 { MappedFiles.known.removeAll() }
    }
  }
}
