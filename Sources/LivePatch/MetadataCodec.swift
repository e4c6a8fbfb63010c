import Diagnostics
import ELF

/// The byte form of container metadata, exactly as SUSE's packer writes it and its runtime reads it ("libpulp container
/// format"): little-endian, no padding, every string preceded by its length.
///
/// Decoding never trusts a length or a count, and either gives a consistent value or throws `container.malformed` with the
/// offset and the field at fault.
public enum MetadataCodec {
  static let applyType: UInt8 = 1
  static let revertType: UInt8 = 2
  /// Total size of the wire form, by SUSE's buffer (one byte of it stays free).
  public static let wireLimit = 524_288
  /// Path in the wire form, with its NUL.
  public static let pathLimit = 4096

  // MARK: encoding

  /// The contents of `.ulp`. Dependencies and references are stored last first.
  public static func encode(_ metadata: ContainerMetadata) -> [UInt8] {
    var bytes = head(applyType, metadata.id, metadata.targetBuildID)
    append(metadata.targetName, to: &bytes)
    bytes.append(integer: UInt32(metadata.units.count))
    for unit in metadata.units {
      append(unit.oldName, to: &bytes)
      append(unit.newName, to: &bytes)
      bytes.append(integer: unit.oldAddress)
    }
    bytes.append(integer: UInt32(metadata.dependencies.count))
    for dependency in metadata.dependencies.reversed() { bytes += dependency.bytes }
    bytes.append(integer: UInt32(metadata.references.count))
    for reference in metadata.references.reversed() {
      append(reference.targetName, to: &bytes)
      append(reference.name, to: &bytes)
      bytes.append(integer: reference.targetOffset)
      bytes.append(integer: reference.patchOffset)
      bytes.append(reference.isThreadLocal ? 1 : 0)
    }
    return bytes
  }

  /// The contents of `.ulp.rev`. Unlike in `.ulp`, the name has no NUL and its length counts none.
  public static func encode(_ metadata: RevertMetadata) -> [UInt8] {
    var bytes = head(revertType, metadata.id, metadata.targetBuildID)
    let name = Array(metadata.targetName.utf8)
    bytes.append(integer: UInt32(name.count))
    return bytes + name
  }

  private static func head(_ type: UInt8, _ id: PatchID, _ buildID: BuildID) -> [UInt8] {
    var bytes: [UInt8] = [type] + id.bytes
    bytes.append(integer: UInt32(buildID.bytes.count))
    return bytes + buildID.bytes
  }

  private static func append(_ name: String, to bytes: inout [UInt8]) {
    let name = Array(name.utf8) + [0]
    bytes.append(integer: UInt32(name.count))
    bytes += name
  }

  // MARK: decoding

  /// Reads `.ulp`. Bytes behind the last reference are ignored, as SUSE's readers do.
  public static func decode(_ bytes: [UInt8]) throws(CodedError) -> ContainerMetadata {
    var reader = MetadataReader(bytes)
    let head = try reader.head(applyType)
    return try reader.body(head)
  }

  /// Reads `.ulp.rev`.
  public static func decodeRevert(_ bytes: [UInt8]) throws(CodedError) -> RevertMetadata {
    var reader = MetadataReader(bytes)
    let head = try reader.head(revertType)
    return RevertMetadata(id: head.id, targetName: try reader.unterminatedName("target name"), targetBuildID: head.buildID)
  }

  // MARK: the wire form

  /// What is sent to a process: the section with the container's path behind the patch id, because the section itself
  /// cannot know where the container lies. Throws `container.malformed` when a limit of SUSE's runtime is exceeded.
  public static func wireForm(_ section: [UInt8], path: String) throws(CodedError) -> [UInt8] {
    let name = Array(path.utf8) + [0]
    guard name.count > 1, name.count < pathLimit, !name.dropLast().contains(0) else {
      throw CodedError(.containerMalformed, "the container's path is empty or longer than \(pathLimit - 2) bytes")
    }
    guard section.count >= 1 + PatchID.size else {
      throw CodedError(.containerMalformed, "the metadata ends inside the patch id")
    }
    var bytes = Array(section[..<(1 + PatchID.size)])
    bytes.append(integer: UInt32(name.count))
    bytes += name
    bytes += section[(1 + PatchID.size)...]
    guard bytes.count < wireLimit else {
      throw CodedError(.containerMalformed, "the metadata has \(bytes.count) bytes; the process takes fewer than \(wireLimit)")
    }
    return bytes
  }

  /// Takes the path out again: the section as it was, and the path.
  public static func section(ofWireForm bytes: [UInt8]) throws(CodedError) -> (section: [UInt8], path: String) {
    var reader = MetadataReader(bytes)
    _ = try reader.take(1 + PatchID.size, "patch id")
    let path = try reader.name("container path")
    return (Array(bytes[..<(1 + PatchID.size)] + bytes[reader.position...]), path)
  }
}

/// Walks through metadata, checking every length against what is left.
struct MetadataReader {
  private let bytes: [UInt8]
  private(set) var position = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  private func malformed(_ what: String, at place: Int) -> CodedError {
    CodedError(
      .containerMalformed, "metadata offset \(hexadecimal(UInt64(place))): \(what)", data: ["offset": .integer(Int64(place))])
  }

  mutating func take(_ count: Int, _ field: String) throws(CodedError) -> ArraySlice<UInt8> {
    guard count <= bytes.count - position else {
      throw malformed("\(field) needs \(count) bytes, \(bytes.count - position) are left", at: position)
    }
    defer { position += count }
    return bytes[position..<position + count]
  }

  private mutating func integer<Value: FixedWidthInteger & BitwiseCopyable>(_ field: String, as type: Value.Type)
    throws(CodedError) -> Value
  {
    let place = position
    _ = try take(MemoryLayout<Value>.size, field)
    return bytes.integer(at: place) ?? 0
  }

  /// A count of things that take at least `size` bytes each, so that a huge one is refused before anything is stored.
  private mutating func count(_ field: String, of size: Int) throws(CodedError) -> Int {
    let place = position
    let count = Int(try integer(field, as: UInt32.self))
    guard count <= (bytes.count - position) / size else {
      throw malformed("\(field) is \(count), more than the remaining \(bytes.count - position) bytes can hold", at: place)
    }
    return count
  }

  /// A string whose length counts its NUL: neither empty nor with another NUL inside.
  mutating func name(_ field: String) throws(CodedError) -> String {
    let place = position
    let length = Int(try integer("length of the " + field, as: UInt32.self))
    let content = try take(length, field)
    guard content.last == 0 else { throw malformed("the \(field) does not end with a NUL", at: place) }
    return try text(content.dropLast(), field, place)
  }

  /// A string without NUL; one at the end is tolerated, as SUSE's readers do.
  mutating func unterminatedName(_ field: String) throws(CodedError) -> String {
    let place = position
    let length = Int(try integer("length of the " + field, as: UInt32.self))
    var content = try take(length, field)
    if content.last == 0 { content.removeLast() }
    return try text(content, field, place)
  }

  private func text(_ content: ArraySlice<UInt8>, _ field: String, _ place: Int) throws(CodedError) -> String {
    guard !content.isEmpty else { throw malformed("the \(field) is empty", at: place) }
    guard !content.contains(0) else { throw malformed("the \(field) holds a NUL", at: place) }
    guard let text = String(validating: content, as: UTF8.self) else { throw malformed("the \(field) is not UTF-8", at: place) }
    return text
  }

  mutating func head(_ type: UInt8) throws(CodedError) -> (id: PatchID, buildID: BuildID) {
    let found = try integer("type", as: UInt8.self)
    guard found == type else { throw malformed("the type is \(found), expected \(type)", at: 0) }
    let id = try take(PatchID.size, "patch id")
    let place = position
    let length = Int(try integer("length of the build ID", as: UInt32.self))
    guard length <= BuildID.limit, let buildID = BuildID(Array(try take(length, "build ID"))), let id = PatchID(Array(id))
    else {
      throw malformed("a build ID of \(length) bytes", at: place)
    }
    return (id, buildID)
  }

  mutating func body(_ head: (id: PatchID, buildID: BuildID)) throws(CodedError) -> ContainerMetadata {
    let targetPlace = position
    let target = try name("target name")
    guard !target.utf8.contains(0x2f) else { throw malformed("the target name has directories", at: targetPlace) }
    // Smallest unit: two lengths, two names of one letter and NUL, one address.
    var units: [ContainerUnit] = []
    for _ in 0..<(try count("number of units", of: 20)) {
      let oldName = try name("old function name")
      let newName = try name("new function name")
      units.append(ContainerUnit(oldName: oldName, newName: newName, oldAddress: try integer("old address", as: UInt64.self)))
    }
    var dependencies: [PatchID] = []
    for _ in 0..<(try count("number of dependencies", of: PatchID.size)) {
      if let id = PatchID(Array(try take(PatchID.size, "dependency"))) { dependencies.append(id) }
    }
    var references: [ContainerReference] = []
    for _ in 0..<(try count("number of references", of: 29)) { references.append(try reference()) }
    return ContainerMetadata(
      id: head.id, targetName: target, targetBuildID: head.buildID, units: units, dependencies: dependencies.reversed(),
      references: references.reversed())
  }

  private mutating func reference() throws(CodedError) -> ContainerReference {
    let targetName = try name("target variable name")
    let name = try name("reference name")
    let targetOffset = try integer("target offset", as: UInt64.self)
    let patchOffset = try integer("patch offset", as: UInt64.self)
    let place = position
    let flag = try integer("tls flag", as: UInt8.self)
    guard flag <= 1 else { throw malformed("the tls flag is \(flag)", at: place) }
    return ContainerReference(
      targetName: targetName, name: name, targetOffset: targetOffset, patchOffset: patchOffset, isThreadLocal: flag == 1)
  }
}
