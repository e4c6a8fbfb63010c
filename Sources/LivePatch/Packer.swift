import Diagnostics
import ELF

/// What packing a container did.
public struct PackResult: Sendable {
  /// The container's path, symbolic links resolved.
  public let path: String
  public let metadata: ContainerMetadata
  /// False when the file already had exactly these contents; then it was not written.
  public let isChanged: Bool
  /// What is allowed but will not work everywhere, one sentence each.
  public let warnings: [String]

  public var record: DiagnosticValue {
    .record([
      .init("path", .text(path)), .init("id", .text(metadata.id.description)), .init("target", .text(metadata.targetName)),
      .init("target_build_id", .text(metadata.targetBuildID.description)), .init("units", .list(metadata.units.map(\.record))),
      .init("references", .list(metadata.references.map(\.record))), .init("changed", .flag(isChanged)),
      .init("warnings", .list(warnings.map { .text($0) })),
    ])
  }
}

/// Makes a shared object a container: finds everything a description names, checks it, and embeds the metadata.
public enum Packer {
  /// Packs as a description file says. The overrides replace the paths of its container and target lines, which are else
  /// looked for in the working directory (as SUSE's packer does), then beside the description.
  ///
  /// Throws `description.syntax` and, pointing at the description's line: `target.function_missing`,
  /// `target.function_ambiguous`, `entry.indirect`, `entry.not_prepared`, `container.contradiction`, `container.duplicate`;
  /// further what opening and writing files throws. Nothing is written unless everything was found.
  public static func pack(
    descriptionPath: String, containerOverride: String? = nil, targetOverride: String? = nil
  ) throws(CodedError) -> PackResult {
    let description = try PatchDescription(path: descriptionPath)
    let container = try open(containerOverride, description.container, description)
    let target = try open(targetOverride, description.target, description)
    let resolver = PackResolver(description: description, container: container, target: target)
    let metadata = try resolver.metadata()
    var warnings: [String] = []
    if metadata.targetBuildID.bytes.count != 20 { warnings.append("SUSE's runtime only knows build IDs of 20 bytes") }
    if metadata.units.isEmpty { warnings.append("the description replaces no function") }
    return try embed(metadata, comments: description.comments, into: container, warnings: warnings)
  }

  /// Embeds metadata that was made otherwise than from a description. `comments` are lines without line ends.
  public static func embed(
    _ metadata: ContainerMetadata, comments: [String] = [], into path: String
  ) throws(CodedError) -> PackResult {
    try embed(metadata, comments: comments, into: ELFFile(path: path), warnings: [])
  }

  static func embed(
    _ metadata: ContainerMetadata, comments: [String], into file: ELFFile, warnings: [String]
  ) throws(CodedError) -> PackResult {
    try Container.checkDuplicates(metadata, file)
    _ = try Container.checkContents(metadata, file)
    let apply = MetadataCodec.encode(metadata)
    let revert = MetadataCodec.encode(
      RevertMetadata(id: metadata.id, targetName: metadata.targetName, targetBuildID: metadata.targetBuildID))
    // What cannot be read back or sent must not be written.
    guard try MetadataCodec.decode(apply) == metadata else {
      throw CodedError(.containerMalformed, "the metadata does not survive being written and read")
    }
    _ = try MetadataCodec.wireForm(apply, path: resolvedPath(file.path))

    var sections = [ELFFile.NewSection(Container.applySection, apply)]
    if !comments.isEmpty {
      // A NUL would end the text for every reader.
      let text = comments.map { $0 + "\n" }.joined().utf8.filter { $0 != 0 }
      sections.append(ELFFile.NewSection(Container.commentsSection, text + [0]))
    }
    sections.append(ELFFile.NewSection(Container.revertSection, revert))
    let names = [Container.applySection, Container.commentsSection, Container.revertSection]
    let isChanged = try file.replaceSections(names, with: sections)
    return PackResult(path: resolvedPath(file.path), metadata: metadata, isChanged: isChanged, warnings: warnings)
  }

  /// Opens the file that a line names, or the one that is given instead.
  private static func open(
    _ override: String?, _ word: PatchDescription.Word, _ description: PatchDescription
  ) throws(CodedError) -> ELFFile {
    if let override { return try openELF(override) }
    do throws(CodedError) {
      do { return try openELF(word.text) } catch {
        guard error.code == .fileUnreadable, !word.text.hasPrefix("/") else { throw error }
        let slash = description.path.utf8.lastIndex(of: 0x2f)
        guard let slash else { throw error }
        // When it is in neither place, the message is about the path as it is written.
        let first = error
        do { return try openELF(String(description.path[...slash]) + word.text) } catch {
          throw error.code == .fileUnreadable ? first : error
        }
      }
    } catch {
      var located = description.error(error.code, error.message, at: word.place)
      located.specificHint = error.specificHint
      throw located
    }
  }

  private static func openELF(_ path: String) throws(CodedError) -> ELFFile {
    let bytes = try FileBytes(path: path)
    let start = try bytes.read(0, count: min(bytes.size, 64))
    if start.first(where: { $0 > 0x20 }) == UInt8(ascii: "{") {
      throw CodedError(
        .elfNotELF, "\(printable(path)) looks like JSON from `ulp extract`, which cannot be read yet",
        hint: "name the ELF file itself", data: ["path": .text(path)])
    }
    return try ELFFile(bytes)
  }
}
