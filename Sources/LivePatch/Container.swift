import Diagnostics
import ELF
import Glibc
import Inferior

/// A live patch on disk: a shared object with the replacement functions and the metadata that says what they replace.
///
/// The file stays open: what is checked here is what the value describes, whatever happens to the path. Metadata is
/// compared with the object itself when it is read, so a container value never contradicts its file.
public struct Container {
  public static let applySection = ".ulp"
  public static let revertSection = ".ulp.rev"
  public static let commentsSection = ".ulp.comments"

  public let file: ELFFile
  /// The path with symbolic links resolved, as the target process is asked to open it.
  public let path: String
  /// The paths that were opened, as they were named: its own, and that of a metadata file.
  public let namedPaths: [String]
  public let buildID: BuildID
  public let metadata: ContainerMetadata
  /// The sections' bytes, for runtimes that are sent them.
  public let applyBytes: [UInt8]
  /// The symbol versions it needs.
  let versions: SymbolVersions
  /// Nil in a container that was packed without revert metadata.
  public let revertBytes: [UInt8]?
  /// The description's comments; empty when there are none.
  public let comments: String
  /// The replacement of each unit, in the order of `metadata.units`: name, link address, size.
  public let functions: [ELFSymbol]

  public var id: PatchID { metadata.id }
  public var targetName: String { metadata.targetName }
  public var targetBuildID: BuildID { metadata.targetBuildID }
  public var units: [ContainerUnit] { metadata.units }
  public var references: [ContainerReference] { metadata.references }
  public var dependencies: [PatchID] { metadata.dependencies }
  public var identity: FileIdentity { file.identity }
  /// Bug and feature numbers in the comments.
  public var labels: [String] { PatchLabels.scan(comments) }

  /// What runs in the target when it is loaded, without the compiler's own start files.
  public func constructors() throws(CodedError) -> [Constructor] { try file.constructors().filter { !$0.isToolchain } }

  /// The symbols it needs from the process.
  public func undefinedSymbols() throws(CodedError) -> [ELFSymbol] { try file.dynamicSymbols().undefined }

  /// The versions of other libraries' symbols that it was linked with.
  public var neededVersions: [SymbolVersions.Need] { versions.needed.sorted { $0.key < $1.key }.map(\.value) }

  /// The version in which it needs an undefined symbol; nil when any will do.
  public func version(of symbol: ELFSymbol) -> String? {
    (try? file.dynamicSymbols()).flatMap { versions.needed[$0.versionIndex(of: symbol.entry)]?.version }
  }

  /// Throws `container.changed` when somebody wrote to the file since it was checked.
  public func requireUnchanged() throws(CodedError) {
    guard !file.bytes.isUnchanged else { return }
    throw CodedError(
      .containerChanged, "\(printable(path)) was written to since it was checked", hint: "open it again, when it is complete",
      data: ["path": .text(path)])
  }

  /// Opens a container, or a metadata file of its own that names its container by path (see `MetadataFile`).
  ///
  /// Throws what `ELFFile` throws, `container.no_metadata`, `container.malformed`, `container.contradiction` (naming
  /// everything that is missing at once), `container.duplicate`, `elf.no_build_id`, `file.changed`.
  public init(path: String) throws(CodedError) {
    let bytes = try FileBytes(path: path)
    if try MetadataFile.isOne(bytes) {
      let metadata = try MetadataFile(bytes)
      try self.init(ELFFile(path: metadata.containerPath), separate: metadata)
    } else {
      try self.init(ELFFile(bytes))
    }
  }

  public init(_ file: ELFFile) throws(CodedError) { try self.init(file, separate: nil) }

  private init(_ file: ELFFile, separate: MetadataFile?) throws(CodedError) {
    self.file = file
    path = Container.resolvedPath(of: file)
    namedPaths = [file.path] + (separate.map { [$0.path] } ?? [])
    let section = try file.section(named: Container.applySection)
    if let separate {
      applyBytes = try separate.applySection(of: file, own: section.map { section throws(CodedError) in try Container.bounded(file, section) })
    } else if let section {
      applyBytes = try Container.bounded(file, section)
    } else {
      throw CodedError(
        .containerNoMetadata, "\(printable(file.path)) carries no live patch metadata", data: ["path": .text(file.path)])
    }
    buildID = try file.requireBuildID()
    let apply = applyBytes
    metadata = try Container.named(file) { () throws(CodedError) in try MetadataCodec.decode(apply) }
    revertBytes = try file.section(named: Container.revertSection).map { section throws(CodedError) in
      try Container.bounded(file, section)
    }
    comments = try Container.readComments(file)
    versions = try file.symbolVersions()
    try Container.checkDuplicates(metadata, file)
    functions = try Container.checkContents(metadata, file)
    try checkRevert()
    try file.bytes.requireUnchanged()
  }

  /// A path below /proc/PID/root leads into another mount namespace; resolved, it would be one of ours.
  private static func resolvedPath(of file: ELFFile) -> String {
    let resolved = LivePatch.resolvedPath(file.path)
    return fileIdentity(resolved) == file.identity ? resolved : file.path
  }

  /// What a process is sent to apply the patch: the metadata with this container's path in it. A tool that gives the
  /// target another path, for its own root directory, passes it.
  public func wireForm(path: String? = nil) throws(CodedError) -> [UInt8] {
    try MetadataCodec.wireForm(applyBytes, path: path ?? self.path)
  }

  /// What a process is sent to revert the patch; nil in a container that was packed without revert metadata.
  public func revertWireForm(path: String? = nil) throws(CodedError) -> [UInt8]? {
    guard let revertBytes else { return nil }
    return try MetadataCodec.wireForm(revertBytes, path: path ?? self.path)
  }

  private static func bounded(_ file: ELFFile, _ section: SectionHeader) throws(CodedError) -> [UInt8] {
    guard section.size < UInt64(MetadataCodec.wireLimit) else {
      throw CodedError(
        .containerMalformed, "\(printable(file.path)): section \(section.name) has \(section.size) bytes",
        data: ["path": .text(file.path)])
    }
    return try file.contents(of: section)
  }

  /// Puts the file's name before the message of a decoder that does not know it.
  private static func named<Value>(_ file: ELFFile, _ body: () throws(CodedError) -> Value) throws(CodedError) -> Value {
    do { return try body() } catch {
      var named = error
      named.message = "\(printable(file.path)): \(error.message)"
      throw named.with("path", .text(file.path))
    }
  }

  /// NUL-terminated text; SUSE's packer writes one comment, ours all of them.
  private static func readComments(_ file: ELFFile) throws(CodedError) -> String {
    guard let section = try file.section(named: commentsSection) else { return "" }
    let bytes = try bounded(file, section)
    return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
  }

  private func checkRevert() throws(CodedError) {
    guard let revertBytes else { return }
    let revert = try Container.named(file) { () throws(CodedError) in try MetadataCodec.decodeRevert(revertBytes) }
    guard revert.id == id, revert.targetName == targetName, revert.targetBuildID == targetBuildID else {
      throw CodedError(
        .containerContradiction, "\(printable(file.path)): its revert metadata belongs to another patch",
        data: ["path": .text(file.path)])
    }
  }
}

/// realpath(3), or the path as it is when that fails.
func resolvedPath(_ path: String) -> String {
  guard let resolved = realpath(path, nil) else { return path }
  defer { free(resolved) }
  return String(cString: resolved)
}
