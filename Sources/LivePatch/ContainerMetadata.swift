import ELF

/// The 32 bytes that name a live patch: 16 of the container's build ID, 16 of the description's MD4.
public struct PatchID: Hashable, Sendable, CustomStringConvertible {
  public let bytes: [UInt8]
  public static let size = 32

  /// Nil unless there are exactly 32 bytes.
  public init?(_ bytes: [UInt8]) {
    guard bytes.count == PatchID.size else { return nil }
    self.bytes = bytes
  }

  /// As SUSE's packer computes it (libpulp container format, "Patch id"): the build ID is cut or padded with zeros to 16
  /// bytes, so that the same description for another build of the container is another patch.
  public init(containerBuildID: BuildID, description: [UInt8]) {
    let half = Array(containerBuildID.bytes.prefix(16))
    bytes = half + [UInt8](repeating: 0, count: 16 - half.count) + MD4.digest(description)
  }

  public var description: String { hexadecimal(bytes) }
}

/// One function to be replaced.
public struct ContainerUnit: Hashable, Sendable {
  /// The function in the target library.
  public let oldName: String
  /// Its replacement, exported by the container.
  public let newName: String
  /// Link address of the old function; 0: look it up by name.
  public let oldAddress: UInt64

  public init(oldName: String, newName: String, oldAddress: UInt64) {
    self.oldName = oldName
    self.newName = newName
    self.oldAddress = oldAddress
  }
}

/// A variable of the container that is to hold the address of something in the target ("static reference").
public struct ContainerReference: Hashable, Sendable {
  public let targetName: String
  /// The pointer variable in the container; of a thread-local variable a 16-byte `{module id, offset}` pair.
  public let name: String
  /// Link address in the target; of a thread-local variable the offset inside the module's block.
  public let targetOffset: UInt64
  /// Link address of the variable in the container; 0: look `name` up.
  public let patchOffset: UInt64
  public let isThreadLocal: Bool

  public init(targetName: String, name: String, targetOffset: UInt64, patchOffset: UInt64, isThreadLocal: Bool) {
    self.targetName = targetName
    self.name = name
    self.targetOffset = targetOffset
    self.patchOffset = patchOffset
    self.isThreadLocal = isThreadLocal
  }
}

/// What the `.ulp` section of a container says. Lists are in the order of the description.
public struct ContainerMetadata: Hashable, Sendable {
  public var id: PatchID
  /// File name of the target library, without directories.
  public var targetName: String
  public var targetBuildID: BuildID
  public var units: [ContainerUnit]
  /// Patches that must be in force before this one. Deprecated by SUSE; normally empty.
  public var dependencies: [PatchID]
  public var references: [ContainerReference]

  public init(
    id: PatchID, targetName: String, targetBuildID: BuildID, units: [ContainerUnit], dependencies: [PatchID] = [],
    references: [ContainerReference] = []
  ) {
    self.id = id
    self.targetName = targetName
    self.targetBuildID = targetBuildID
    self.units = units
    self.dependencies = dependencies
    self.references = references
  }
}

/// What the `.ulp.rev` section says: enough to name the patch and its target.
public struct RevertMetadata: Hashable, Sendable {
  public var id: PatchID
  public var targetName: String
  public var targetBuildID: BuildID

  public init(id: PatchID, targetName: String, targetBuildID: BuildID) {
    self.id = id
    self.targetName = targetName
    self.targetBuildID = targetBuildID
  }
}
