import Diagnostics
import Foundation
import Testing

@testable import ELF
@testable import LivePatch

private func failure(_ body: () throws(CodedError) -> Void) -> CodedError? {
  do {
    try body()
    return nil
  } catch { return error }
}

@Suite struct PackerTests {
  let fixture = ContainerFixture()

  private func symbol(_ name: String, _ file: String) throws -> UInt64 {
    try #require(try ELFFile(path: fixture.path(file)).symbol(named: name)).value
  }

  @Test func aContainerIsWhatItsDescriptionSays() throws {
    let description = try fixture.build()
    let result = try Packer.pack(descriptionPath: description)
    #expect(result.isChanged && result.warnings.isEmpty && result.path == fixture.path("fix.so"))
    let container = try Container(path: fixture.path("fix.so"))
    #expect(container.metadata == result.metadata)
    #expect(container.targetName == "libdozen.so.1")
    #expect(try container.targetBuildID == ELFFile(path: fixture.path("libdozen.so.1")).buildID())
    #expect(container.id.bytes == container.buildID.bytes.prefix(16) + MD4.digest(Array(ContainerFixture.description.utf8)))
    #expect(container.units.map(\.oldName) == ["dozen", "helper"])
    #expect(try container.units.map(\.oldAddress) == [symbol("dozen", "libdozen.so.1"), symbol("helper", "libdozen.so.1")])
    #expect(container.functions.map(\.name) == ["new_dozen", "new_helper"])
    #expect(container.functions.allSatisfy { $0.size > 0 })
    #expect(container.references.map(\.isThreadLocal) == [false, true])
    #expect(try container.references[0].patchOffset == symbol("ulpr_banner_length", "fix.so"))
    #expect(try container.references[0].targetOffset == symbol("banner_length", "libdozen.so.1"))
    #expect(container.comments == " Fixes bsc#1234 and jsc#SLE-77\n and CVE-2024-0001\n")
    #expect(container.labels == ["bsc#1234", "jsc#SLE-77", "CVE-2024-0001"])
    #expect(try container.constructors().map(\.name) == ["prepare"])
    #expect(try container.undefinedSymbols().contains { $0.name == "getpid" })
    let sent = try MetadataCodec.section(ofWireForm: container.wireForm())
    #expect(sent.path == container.path && sent.section == container.applyBytes)
    let revert = try MetadataCodec.section(ofWireForm: #require(try container.revertWireForm(path: "/r/fix.so")))
    #expect(revert.path == "/r/fix.so" && revert.section == container.revertBytes)
  }

  @Test func toolsAndTheLoaderAcceptThePackedFile() throws {
    let description = try fixture.build()
    let before = try ELFFile(path: fixture.path("fix.so"))
    let loaded = try before.programHeaders.filter(\.isLoad).map { header throws in
      try before.read(at: LinkAddress(header.address), count: Int(header.fileSize))
    }
    let result = try Packer.pack(descriptionPath: description)
    let after = try ELFFile(path: fixture.path("fix.so"))
    #expect(after.programHeaders == before.programHeaders)
    for (header, contents) in zip(after.programHeaders.filter(\.isLoad), loaded) {
      var found = try after.read(at: LinkAddress(header.address), count: Int(header.fileSize))
      // Only the ELF header's view of the section table may change: e_shoff, e_shnum, e_shstrndx.
      if header.offset == 0 {
        found.replaceSubrange(40..<48, with: contents[40..<48])
        found.replaceSubrange(58..<64, with: contents[58..<64])
      }
      #expect(found == contents)
    }
    let listed = try fixture.run("readelf", ["-SW", fixture.path("fix.so")])
    #expect(listed.contains(" .ulp ") && listed.contains(".ulp.rev") && listed.contains(".ulp.comments"))
    #expect(!listed.lowercased().contains("warning") && !listed.lowercased().contains("error"))
    #expect(try fixture.run("readelf", ["-sW", fixture.path("fix.so")]).contains("new_dozen"))
    try fixture.run(
      "objcopy", ["--dump-section", ".ulp=" + fixture.path("dumped"), fixture.path("fix.so"), fixture.path("copy.so")])
    #expect(try fixture.bytes("dumped") == MetadataCodec.encode(result.metadata))
    try fixture.run("strip", ["-o", fixture.path("stripped.so"), fixture.path("fix.so")])
    for name in ["fix.so", "copy.so", "stripped.so"] {
      #expect(try Container(path: fixture.path(name)).metadata == result.metadata, "\(name)")
      let handle = try #require(dlopen(fixture.path(name), RTLD_NOW | RTLD_LOCAL), "\(name): \(String(cString: dlerror()))")
      let function = try #require(dlsym(handle, "new_dozen"))
      #expect(unsafeBitCast(function, to: (@convention(c) () -> Int32).self)() == 13)
      dlclose(handle)
    }
  }

  @Test func packingAgainGivesTheSameBytesAndWritesNothing() throws {
    let description = try fixture.build()
    _ = try Packer.pack(descriptionPath: description)
    let first = try fixture.bytes("fix.so")
    let second = try Packer.pack(descriptionPath: description)
    #expect(!second.isChanged)
    #expect(try fixture.bytes("fix.so") == first)
  }

  @Test func packingOverAnotherPatchLeavesNothingOfIt() throws {
    let description = try fixture.build()
    let plain = "fix.so\n@libdozen.so.1\ndozen:new_dozen\n"
    _ = try fixture.describe(plain)
    _ = try Packer.pack(descriptionPath: description)
    let fresh = try fixture.bytes("fix.so")
    _ = try fixture.describe(ContainerFixture.description)
    _ = try Packer.pack(descriptionPath: description)
    #expect(try Container(path: fixture.path("fix.so")).labels.count == 3)
    _ = try fixture.describe(plain)
    _ = try Packer.pack(descriptionPath: description)
    #expect(try fixture.bytes("fix.so") == fresh)
    #expect(try Container(path: fixture.path("fix.so")).comments.isEmpty)
  }

  /// SUSE's packer leaves its sections before the symbol table; removing them renumbers what follows.
  @Test func sectionsThatObjcopyAddedAreReplaced() throws {
    let description = try fixture.build()
    try fixture.write([1, 2, 3], "old")
    let added = [".ulp", ".ulp.comments", ".ulp.rev"].flatMap { ["--add-section", $0 + "=" + fixture.path("old")] }
    try fixture.run("objcopy", added + [fixture.path("fix.so")])
    let later = ["--add-section", ".later=" + fixture.path("old"), "--add-symbol", "later_mark=.later:1"]
    try fixture.run("objcopy", later + [fixture.path("fix.so")])
    let marked = try ELFFile(path: fixture.path("fix.so"))
    let oldNumber = try #require(try marked.section(named: ".later")).index
    #expect(try marked.symbol(named: "later_mark")?.section == UInt16(oldNumber))
    let symbols = try fixture.run("readelf", ["-sW", fixture.path("fix.so")])
    _ = try fixture.describe("fix.so\n@libdozen.so.1\ndozen:new_dozen\n")
    _ = try Packer.pack(descriptionPath: description)
    let listed = try fixture.run("readelf", ["-SW", fixture.path("fix.so")])
    #expect(listed.components(separatedBy: ".ulp").count == 3, ".ulp and .ulp.rev, once each")
    #expect(
      try fixture.run("readelf", ["-sW", fixture.path("fix.so")]).contains("hidden_dozen") && symbols.contains("hidden_dozen"))
    let packed = try ELFFile(path: fixture.path("fix.so"))
    let number = try #require(try packed.section(named: ".later")).index
    #expect(
      try number < oldNumber && packed.symbol(named: "later_mark")?.section == UInt16(number), "symbols follow their section")
    let bytes = try fixture.bytes("fix.so")
    _ = try Packer.pack(descriptionPath: description)
    #expect(try fixture.bytes("fix.so") == bytes)
    dlclose(try #require(dlopen(fixture.path("fix.so"), RTLD_NOW)))
  }

  @Test func modeOwnerAndSymbolicLinksStay() throws {
    let description = try fixture.build()
    chmod(fixture.path("fix.so"), 0o4751)
    rename(fixture.path("fix.so"), fixture.path("fix.so.1"))
    symlink("fix.so.1", fixture.path("fix.so"))
    let result = try Packer.pack(descriptionPath: description)
    #expect(result.path == fixture.path("fix.so.1"))
    let after = try FileBytes(path: fixture.path("fix.so.1"))
    #expect(after.mode == 0o4751 && after.owner == getuid())
    #expect(try FileManager.default.destinationOfSymbolicLink(atPath: fixture.path("fix.so")) == "fix.so.1")
    #expect(try FileManager.default.contentsOfDirectory(atPath: fixture.directory).filter { $0.contains("ulpsh-") }.isEmpty)
  }

  /// A limit on the file size stands for a full disk: the write fails in the middle. In a process of its own, because the
  /// limit is the whole process's.
  @Test func aFailedWriteLeavesTheOldFile() async throws {
    _ = try fixture.build()
    let before = try fixture.bytes("fix.so")
    let path = fixture.path("fix.so")
    await #expect(processExitsWith: .exitCode(7)) { [path = path as String] in
      let file = try FileBytes(path: path)
      signal(SIGXFSZ, SIG_IGN)
      var limit = rlimit(rlim_cur: rlim_t(file.size / 2), rlim_max: rlim_t(file.size / 2))
      setrlimit(__rlimit_resource_t(1), &limit)  // RLIMIT_FSIZE
      let error = failure { () throws(CodedError) in try file.replace(with: try file.readAll() + [0]) }
      exit(error?.code == .fileUnwritable ? 7 : 1)
    }
    #expect(try fixture.bytes("fix.so") == before)
    #expect(try FileManager.default.contentsOfDirectory(atPath: fixture.directory).filter { $0.contains("ulpsh-") }.isEmpty)
  }

  @Test func overridesReplaceThePathsButNotTheLines() throws {
    let description = try fixture.build(description: "nowhere.so\n@nothing.so\ndozen:new_dozen\n")
    #expect(failure { () throws(CodedError) in _ = try Packer.pack(descriptionPath: description) }?.code == .fileUnreadable)
    var options = Packer.Options()
    options.container = fixture.path("fix.so")
    options.target = fixture.path("libdozen.so.1")
    let result = try Packer.pack(descriptionPath: description, options)
    #expect(result.metadata.targetName == "libdozen.so.1")
  }

  @Test func offsetsAreTakenLiterallyAndZeroIsLookedUp() throws {
    let place = try { () throws in
      _ = try fixture.build()
      return try symbol("ulpr_banner_length", "fix.so")
    }()
    let digits = String(place, radix: 16)
    let description = try fixture.describe(
      "fix.so\n@libdozen.so.1\n#anything:ulpr_banner_length:ABC:\(digits)\n#banner_length:ulpr_banner_length:0:0\n")
    let result = try Packer.pack(descriptionPath: description)
    let references = result.metadata.references
    #expect(result.warnings.first?.contains(":3: the offset 0xabc of anything lies outside") == true, "\(result.warnings)")
    #expect(references[0].targetOffset == 0xabc && references[0].patchOffset == place)
    #expect(try references[1].targetOffset == symbol("banner_length", "libdozen.so.1") && references[1].patchOffset == 0)
  }

  @Test(arguments: [
    ("missing:new_dozen", ErrorCode.targetFunctionMissing, 1), ("banner_length:new_dozen", .targetFunctionMissing, 1),
    ("indirect:new_dozen", .entryIndirect, 1), ("unprepared:new_dozen", .entryNotPrepared, 1),
    ("dozen:missing", .containerContradiction, 7), ("dozen:hidden_dozen", .containerContradiction, 7),
    ("dozen:ulpr_banner_length", .containerContradiction, 7), ("dozen:new_dozen\ndozen:new_helper", .containerDuplicate, 1),
    ("#missing:ulpr_depth", .targetFunctionMissing, 2), ("#banner_length:missing", .containerContradiction, 16),
    ("#banner_length:small_variable", .containerContradiction, 16), ("#depth:ulpr_depth", .descriptionSyntax, 2),
    ("#%banner_length:ulpr_depth", .descriptionSyntax, 3), ("#banner_length:new_dozen", .containerContradiction, 16), ("#indirect:ulpr_banner_length", .entryIndirect, 2),
    ("#banner_length:ulpr_banner_length:10:ffffffffffffffff", .containerContradiction, 0),
  ]) func whatCannotWorkIsRefusedAndNothingIsWritten(_ line: String, _ code: ErrorCode, _ column: Int) throws {
    let description = try fixture.build(description: "fix.so\n@libdozen.so.1\n\(line)\n")
    let before = try fixture.bytes("fix.so")
    let error = try #require(failure { () throws(CodedError) in _ = try Packer.pack(descriptionPath: description) })
    #expect(error.code == code, "\(error)")
    // Column 0: found when the metadata is compared with the object, where no line is known.
    if column > 0 { #expect(error.message.contains(":\(line.contains("\n") ? 4 : 3):\(column): "), "\(error)") }
    #expect(try fixture.bytes("fix.so") == before)
  }

  @Test func aStaticFunctionOfSeveralFilesIsNotGuessed() throws {
    let description = try fixture.build(description: "fix.so\n@libtwo.so\nsame:new_dozen\n")
    for name in ["a", "b"] {
      try "static int same(int x) { return x + 1; } int \(name)(int x) { return same(x); }".write(
        toFile: fixture.path(name + ".c"), atomically: true, encoding: .utf8)
    }
    let options = ["-shared", "-fPIC", "-fno-inline", "-fpatchable-function-entry=16,14", "-Wl,--build-id=sha1"]
    try fixture.run("gcc", options + ["-o", fixture.path("libtwo.so"), fixture.path("a.c"), fixture.path("b.c")])
    #expect(
      failure { () throws(CodedError) in _ = try Packer.pack(descriptionPath: description) }?.code == .targetFunctionAmbiguous)
  }

  @Test(arguments: [["-fcf-protection=full"], ["-fcf-protection=none"], ["-fpatchable-function-entry=24,22"]])
  func preparedEntriesOfEveryForm(_ options: [String]) throws {
    let description = try fixture.build(libraryOptions: options)
    #expect(failure { () throws(CodedError) in _ = try Packer.pack(descriptionPath: description) } == nil)
    // Without the section the bytes themselves decide.
    try fixture.run("objcopy", ["--rename-section", "__patchable_function_entries=other", fixture.path("libdozen.so.1")])
    #expect(failure { () throws(CodedError) in _ = try Packer.pack(descriptionPath: description) } == nil)
    _ = try fixture.describe("fix.so\n@libdozen.so.1\nunprepared:new_dozen\n")
    #expect(failure { () throws(CodedError) in _ = try Packer.pack(descriptionPath: description) }?.code == .entryNotPrepared)
  }

  @Test func filesOfAWrongKindAreNamedWithTheLine() throws {
    let description = try fixture.build()
    try fixture.write(Array("{\"library\":{}}".utf8), "libdozen.so.1")
    let json = try #require(failure { () throws(CodedError) in _ = try Packer.pack(descriptionPath: description) })
    #expect(json.code == .elfNotELF && json.message.contains(":4:2: ") && json.message.contains("JSON"))
    try fixture.compile(
      "int dozen(void) { return 12; }", "libdozen.so.1", ["-Wl,--build-id=none", "-fpatchable-function-entry=16,14"])
    _ = try fixture.describe("fix.so\n@libdozen.so.1\ndozen:new_dozen\n")
    #expect(failure { () throws(CodedError) in _ = try Packer.pack(descriptionPath: description) }?.code == .elfNoBuildID)
  }

  @Test func embeddingWithoutADescription() throws {
    _ = try fixture.build()
    let own = try ELFFile(path: fixture.path("fix.so")).requireBuildID()
    let id = PatchID(containerBuildID: own, description: [9])
    var metadata = ContainerMetadata(
      id: id, targetName: "libx.so", targetBuildID: BuildID([1, 2, 3])!,
      units: [ContainerUnit(oldName: "a", newName: "new_dozen", oldAddress: 0)])
    _ = try Packer.embed(metadata, comments: "bsc#5", into: fixture.path("fix.so"))
    let container = try Container(path: fixture.path("fix.so"))
    #expect(container.metadata == metadata && container.labels == ["bsc#5"])
    metadata.units = [
      ContainerUnit(oldName: "a", newName: "nope", oldAddress: 0),
      ContainerUnit(oldName: "b", newName: "nor_this", oldAddress: 0),
    ]
    let error = try #require(failure { () throws(CodedError) in _ = try Packer.embed(metadata, into: fixture.path("fix.so")) })
    #expect(error.code == .containerContradiction && error.message.contains("nope, nor_this"), "all at once: \(error)")
    metadata.id = PatchID([UInt8](repeating: 9, count: 32))!
    let foreign = failure { () throws(CodedError) in _ = try Packer.embed(metadata, into: fixture.path("fix.so")) }
    #expect(foreign?.code == .containerContradiction && foreign?.message.contains("another build") == true)
  }
}

@Suite struct ContainerTests {
  let fixture = ContainerFixture()

  @Test func anOrdinaryLibraryIsNoContainer() throws {
    _ = try fixture.build()
    #expect(failure { () throws(CodedError) in _ = try Container(path: fixture.path("fix.so")) }?.code == .containerNoMetadata)
  }

  @Test func everyAlteredByteAndEveryCutOfItsSectionsIsRefusedOrConsistent() throws {
    let description = try fixture.build()
    let metadata = try Packer.pack(descriptionPath: description).metadata
    let good = try fixture.bytes("fix.so")
    let file = try ELFFile(path: fixture.path("fix.so"))
    let allowed: Set<ErrorCode> = [.containerMalformed, .containerContradiction, .containerDuplicate]
    for name in [Container.applySection, Container.revertSection, Container.commentsSection] {
      let section = try #require(try file.section(named: name))
      let header = Int(file.header.sectionHeaderOffset) + section.index * SectionHeader.size
      for place in 0..<Int(section.size) {
        var altered = good
        altered[Int(section.offset) + place] ^= 0x81
        var cut = good
        cut.replace(at: header + 32, UInt64(place))
        for bytes in [altered, cut] {
          try fixture.write(bytes, "hostile.so")
          do throws(CodedError) {
            let container = try Container(path: fixture.path("hostile.so"))
            #expect(name == Container.commentsSection || container.metadata != metadata || bytes == good, "\(name) \(place)")
            _ = try container.record()
          } catch { #expect(allowed.contains(error.code), "\(error)") }
        }
      }
    }
  }

  @Test func theRecordHasWhatScriptsShow() throws {
    let description = try fixture.build()
    _ = try Packer.pack(descriptionPath: description)
    let container = try Container(path: fixture.path("fix.so"))
    guard case .record(let members) = try container.record() else {
      Issue.record("not a record")
      return
    }
    let values = Dictionary(uniqueKeysWithValues: members.map { ($0.name, $0.value) })
    #expect(values["target"] == "libdozen.so.1" && values["id"] == .text(container.id.description))
    #expect(values["labels"] == ["bsc#1234", "jsc#SLE-77", "CVE-2024-0001"])
    #expect(values["constructors"] == ["prepare"])
    guard case .list(let units)? = values["units"] else {
      Issue.record("no units")
      return
    }
    #expect(units.count == 2)
  }
}
