import Diagnostics
import ELF

/// Metadata in a file of its own, as libpulp had it before its version 0.2.0, and as it is sent to processes ("libpulp
/// container format", "Wire form"): type, patch id, the container's path, and the rest of the section.
public struct MetadataFile {
  public enum Contents {
    case apply(ContainerMetadata)
    case revert(RevertMetadata)
  }

  public let path: String
  /// As in the file, or beside it when it is relative and leads nowhere from the working directory.
  public let containerPath: String
  public let contents: Contents
  /// The section of a container with the same metadata: without the path.
  public let section: [UInt8]

  /// Whether a file can be one: it begins with a type and is no ELF file.
  static func isOne(_ file: FileBytes) throws(CodedError) -> Bool {
    guard file.size > 0 else { return false }
    let first = try file.read(0, count: 1)[0]
    return first == MetadataCodec.applyType || first == MetadataCodec.revertType
  }

  public init(path: String) throws(CodedError) { try self.init(FileBytes(path: path)) }

  /// Throws `container.malformed`, with the file's name before the message.
  public init(_ file: FileBytes) throws(CodedError) {
    guard file.size < MetadataCodec.wireLimit else {
      throw CodedError(
        .containerMalformed, "\(printable(file.path)) has \(file.size) bytes; metadata has fewer than \(MetadataCodec.wireLimit)",
        data: ["path": .text(file.path)])
    }
    let bytes = try file.readAll()
    path = file.path
    let isRevert = bytes.first == MetadataCodec.revertType
    do throws(CodedError) {
      let (section, named) = try MetadataCodec.section(ofWireForm: bytes)
      self.section = section
      containerPath = MetadataFile.place(of: named, beside: file.path)
      contents =
        isRevert ? .revert(try MetadataCodec.decodeRevert(section)) : .apply(try MetadataCodec.decode(section))
    } catch {
      var named = error
      named.message = "\(printable(file.path)): \(error.message)"
      throw named.with("path", .text(file.path))
    }
    try file.requireUnchanged()
  }

  private static func place(of path: String, beside file: String) -> String {
    if path.utf8.first == 0x2f || (try? FileBytes(path: path)) != nil { return path }
    guard let slash = file.utf8.lastIndex(of: 0x2f) else { return path }
    return String(file[...slash]) + path
  }

  /// The metadata to apply. A container that has metadata of its own must agree.
  func applySection(of container: ELFFile, own: [UInt8]?) throws(CodedError) -> [UInt8] {
    guard case .apply = contents else {
      throw CodedError(
        .containerNoMetadata, "\(printable(path)) is metadata to revert a patch, not to apply one",
        hint: "name the container or its .ulp file", data: ["path": .text(path)])
    }
    if let own, own != section {
      throw CodedError(
        .containerContradiction, "\(printable(path)) says something else than the metadata in \(printable(container.path))",
        hint: "name the container itself, or write the file anew", data: ["path": .text(path)])
    }
    return section
  }

  public var record: DiagnosticValue {
    switch contents {
    case .apply(let metadata):
      return .record(
        [.init("kind", "apply"), .init("path", .text(path)), .init("container", .text(containerPath))] + metadata.members)
    case .revert(let metadata):
      return .record([
        .init("kind", "revert"), .init("path", .text(path)), .init("container", .text(containerPath)),
        .init("id", .text(metadata.id.description)), .init("target", .text(metadata.targetName)),
        .init("target_build_id", .text(metadata.targetBuildID.description)),
      ])
    }
  }

  /// What a process is sent to revert the patch, made of a container or of a metadata file, of whichever kind.
  public static func revertForm(of path: String) throws(CodedError) -> [UInt8] {
    let bytes = try FileBytes(path: path)
    guard try isOne(bytes) else {
      let container = try Container(path: path)
      let metadata = container.metadata
      let section =
        container.revertBytes
        ?? MetadataCodec.encode(
          RevertMetadata(id: metadata.id, targetName: metadata.targetName, targetBuildID: metadata.targetBuildID))
      return try MetadataCodec.wireForm(section, path: container.path)
    }
    let file = try MetadataFile(bytes)
    switch file.contents {
    case .revert: return try MetadataCodec.wireForm(file.section, path: file.containerPath)
    case .apply(let metadata):
      let revert = RevertMetadata(id: metadata.id, targetName: metadata.targetName, targetBuildID: metadata.targetBuildID)
      return try MetadataCodec.wireForm(MetadataCodec.encode(revert), path: file.containerPath)
    }
  }
}

extension ContainerMetadata {
  /// The members that say what is patched.
  var members: [DiagnosticValue.Member] {
    [
      .init("id", .text(id.description)), .init("target", .text(targetName)),
      .init("target_build_id", .text(targetBuildID.description)), .init("units", .list(units.map(\.record))),
      .init("references", .list(references.map(\.record))),
      .init("dependencies", .list(dependencies.map { .text($0.description) })),
    ]
  }
}
