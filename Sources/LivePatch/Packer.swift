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
  /// What may be given instead of what the description says, or besides.
  public struct Options {
    /// Paths instead of those of the container and target lines. The lines must be there all the same.
    public var container: String?
    public var target: String?
    /// The symbols of a target that is JSON from `extract`; Lua reads JSON.
    public var extract: ExtractedSymbols?
    /// Separate debug information of the target, instead of that which is found by its build ID.
    public var debugFile: String?
    public init() {}
  }

  /// Packs as a description file says. Relative paths are looked for in the working directory (as SUSE's packer does), then
  /// beside the description.
  ///
  /// Throws `description.syntax` and, pointing at the description's line: `target.function_missing`,
  /// `target.function_ambiguous`, `entry.indirect`, `entry.not_prepared`, `container.contradiction`, `container.duplicate`;
  /// further what opening and writing files throws. Of several mistakes the first, with all in its `mistakes`. Nothing is
  /// written unless everything was found.
  public static func pack(descriptionPath: String, _ options: Options = Options()) throws(CodedError) -> PackResult {
    let description = try PatchDescription(path: descriptionPath)
    let container = try located(description.container, options.container, description) { (path) throws(CodedError) in
      try ELFFile(path: path)
    }
    let target = try located(description.target, options.target, description) { (path) throws(CodedError) in
      try openTarget(path, options)
    }
    let resolver = PackResolver(description: description, container: container, target: target)
    var (metadata, warnings) = try resolver.metadata()
    if metadata.targetBuildID.bytes.count != 20 { warnings.append("SUSE's runtime only knows build IDs of 20 bytes") }
    if metadata.units.isEmpty { warnings.append("the description replaces no function") }
    if target.file == nil, !metadata.units.isEmpty {
      warnings.append("\(printable(target.path)) lists symbols only: whether the functions can be patched is not known")
    }
    try target.file?.bytes.requireUnchanged()
    return try embed(metadata, comments: text(of: description.comments), into: container, warnings: warnings)
  }

  /// Embeds metadata that was made otherwise than from a description. `comments` are kept as they are.
  public static func embed(
    _ metadata: ContainerMetadata, comments: String = "", into path: String, isRevertible: Bool = true
  ) throws(CodedError) -> PackResult {
    let file = try ELFFile(path: path)
    let own = try file.requireBuildID()
    // The first half of an id names the build of the container. Two builds under one id could not be told apart.
    guard metadata.id.bytes.prefix(16) == PatchID(containerBuildID: own, description: []).bytes.prefix(16) else {
      throw CodedError(
        .containerContradiction, "the patch id \(metadata.id.description) is of another build than \(printable(path))",
        hint: "pack this build from its description", data: ["path": .text(path), "id": .text(metadata.id.description)])
    }
    return try embed(metadata, comments: comments, into: file, warnings: [], isRevertible: isRevertible)
  }

  static func embed(
    _ metadata: ContainerMetadata, comments: String, into file: ELFFile, warnings: [String], isRevertible: Bool = true
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
      sections.append(ELFFile.NewSection(Container.commentsSection, comments.utf8.filter { $0 != 0 } + [0]))
    }
    if isRevertible { sections.append(ELFFile.NewSection(Container.revertSection, revert)) }
    let names = [Container.applySection, Container.commentsSection, Container.revertSection]
    let isChanged = try file.replaceSections(names, with: sections)
    var warnings = warnings
    if isChanged, file.bytes.otherNames > 0 {
      warnings.append("\(printable(file.path)) has \(file.bytes.otherNames) other names (hard links), which keep the old contents")
    }
    return PackResult(path: resolvedPath(file.path), metadata: metadata, isChanged: isChanged, warnings: warnings)
  }

  private static func text(of comments: [String]) -> String { comments.map { $0 + "\n" }.joined() }

  /// Opens the file that a line names, or the one that is given instead. What is wrong with the former is the line's fault.
  private static func located<Value>(
    _ word: PatchDescription.Word, _ override: String?, _ description: PatchDescription,
    _ open: (String) throws(CodedError) -> Value
  ) throws(CodedError) -> Value {
    if let override { return try open(override) }
    do { return try open(description.place(of: word)) } catch {
      guard error.code != .fileChanged else { throw error }
      var located = description.error(error.code, error.message, at: word.place)
      located.specificHint = error.specificHint
      throw located
    }
  }

  private static func openTarget(_ path: String, _ options: Options) throws(CodedError) -> PackTarget {
    if let extract = options.extract { return PackTarget(extract) }
    let bytes = try FileBytes(path: path)
    let start = try bytes.read(0, count: min(bytes.size, 64))
    if start.first(where: { $0 > 0x20 }) == UInt8(ascii: "{") {
      throw CodedError(
        .elfNotELF, "\(printable(path)) looks like JSON, whose symbols were not given",
        hint: "use `ulp.pack`, which reads JSON from `extract`", data: ["path": .text(path)])
    }
    return try PackTarget(try ELFFile(bytes), debugPath: options.debugFile)
  }
}
