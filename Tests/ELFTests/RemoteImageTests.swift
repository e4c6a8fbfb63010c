import Diagnostics
import Foundation
import Testing

@testable import ELF

/// This process, as another one would be read.
private struct OwnMemory: MemoryReading {
  func read(_ address: UInt64, count: Int) throws(CodedError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let descriptor = open("/proc/self/mem", O_RDONLY)
    defer { close(descriptor) }
    guard pread(descriptor, &bytes, count, off_t(bitPattern: address)) == count else {
      throw CodedError(.memoryUnreadable, "?")
    }
    return bytes
  }
}

extension off_t { fileprivate init(bitPattern value: UInt64) { self = off_t(Int64(bitPattern: value)) } }

/// One entry of this process's auxiliary vector (proc(5)).
private func auxiliary(_ wanted: UInt64) throws -> UInt64 {
  let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: "/proc/self/auxv")))
  let place = try #require(stride(from: 0, to: bytes.count, by: 16).first { bytes.integer(at: $0, as: UInt64.self) == wanted })
  return try #require(bytes.integer(at: place + 8))
}

@Suite struct RemoteImageTests {
  let fixture = Fixture()

  @Test func theMappedLibcIsTheFile() throws {
    // Asked of the loader: /proc/self/maps can miss lines while other tests map and unmap.
    // glibc's handle is the link map: bias, then name (dlinfo(3)). libc is linked at 0, so the bias is its base.
    let map = try #require(dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD))
    let image = try RemoteImage(OwnMemory(), base: map.load(as: UInt64.self), name: "libc.so.6")
    let file = try ELFFile(path: String(cString: map.load(fromByteOffset: 8, as: UnsafePointer<CChar>.self)))
    #expect(try image.buildID() == file.buildID() && image.buildID() != nil)
    #expect(try image.soname() == "libc.so.6")
    #expect(try image.symbols().count == file.dynamicSymbols().count)
    let getpid = try #require(try image.address(of: "getpid"))
    #expect(getpid.rawValue == UInt64(UInt(bitPattern: dlsym(nil, "getpid"))))
    #expect(try image.function(containing: RemoteAddress(getpid.rawValue + 1))?.value == (getpid - image.bias).rawValue)
    #expect(image.textRanges.contains { $0.contains(getpid.rawValue) })
    #expect(!image.writableRanges.contains { $0.contains(getpid.rawValue) })
    #expect(image.extent.contains(getpid.rawValue))
    #expect(try image.address(of: "errno") == nil, "a thread-local variable has no one address")
    #expect(try image.address(of: "no_such_function") == nil)
  }

  @Test func theProgramIsFoundThroughTheAuxiliaryVector() throws {
    let image = try RemoteImage(
      OwnMemory(), programHeadersAt: auxiliary(3), count: Int(auxiliary(5)), name: "self")
    #expect(image.extent.contains(try auxiliary(9)), "AT_ENTRY lies in the program")
    #expect(try image.dynamicSection() != nil)
  }

  /// The vDSO's dynamic section is never relocated: its pointers are link addresses even in memory.
  @Test func theVDSOIsReadable() throws {
    let image = try RemoteImage(OwnMemory(), base: auxiliary(33), name: "linux-vdso.so.1")
    #expect(try image.symbols().symbol(named: "__vdso_clock_gettime")?.kind == .function)
    #expect(try image.buildID() != nil)
  }

  /// Lays the file out as the loader would.
  private func mapped(_ path: String, at base: UInt64) throws -> [UInt8] {
    let file = try ELFFile(path: path)
    var memory = [UInt8](repeating: 0, count: Int(file.view.extent()!.upperBound))
    let bytes = try fixture.bytes(path)
    for header in file.programHeaders where header.isLoad {
      memory.replaceSubrange(
        Int(header.address)..<Int(header.address + header.fileSize),
        with: bytes[Int(header.offset)..<Int(header.offset + header.fileSize)])
    }
    return memory
  }

  private func exercise(_ memory: [UInt8]) {
    do throws(CodedError) {
      let image = try RemoteImage(MemorySnapshot(at: 0x7000_0000, memory), base: 0x7000_0000, name: "hostile")
      _ = try? image.buildID()
      _ = try? image.soname()
      _ = try? image.function(containing: RemoteAddress(0x7000_1000))
      if let table = try? image.symbols() { _ = table.undefined }
      _ = try image.address(of: "triple")
    } catch {}
  }

  @Test func everyAlteredByteAndEveryHugeNumberInMemory() throws {
    let options = ["-shared", "-fPIC", "-nostdlib", "-Wl,--build-id=sha1", "-Wl,-z,noseparate-code", "-Wl,--hash-style=gnu"]
    let good = try mapped(fixture.compile("int triple(int x) { return x * 3; }", "small.so", options), at: 0)
    let image = try RemoteImage(MemorySnapshot(at: 0x7000_0000, good), base: 0x7000_0000, name: "good")
    let triple = try #require(try image.address(of: "triple"))
    #expect(triple.rawValue > 0x7000_0000 && triple.rawValue < 0x7000_0000 + UInt64(good.count))
    for place in good.indices where place < 0x400 || good[place] != 0 {
      for value: UInt8 in [0, 0x7f, 0xff] where good[place] != value {
        var bytes = good
        bytes[place] = value
        exercise(bytes)
      }
    }
    for place in stride(from: 16, to: good.count - 8, by: 8) where place < 0x400 || good[place] != 0 {
      for value: UInt64 in [.max, 1 << 60, 1 << 63] {
        var bytes = good
        withUnsafeBytes(of: value.littleEndian) { bytes.replaceSubrange(place..<place + 8, with: $0) }
        exercise(bytes)
      }
    }
  }

  @Test func buildIDsBetweenNotesOfEitherAlignment() {
    let property: [UInt8] = [4, 0, 0, 0, 16, 0, 0, 0, 5, 0, 0, 0] + Array("GNU\0".utf8) + [UInt8](repeating: 1, count: 16)
    let id: [UInt8] = [4, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0] + Array("GNU\0".utf8) + [0xab, 0xcd, 0xef]
    #expect(BuildID(notes: property + id, alignment: 8)?.description == "abcdef")
    #expect(BuildID(notes: property + id, alignment: 4)?.description == "abcdef")
    let other: [UInt8] = [4, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0] + Array("XYZ\0".utf8) + [1, 2, 3, 0]
    #expect(BuildID(notes: other + id, alignment: 4)?.description == "abcdef", "a note of another owner")
    // Descriptor of 4 bytes: with alignment 8 the next note starts 4 bytes later.
    let short: [UInt8] = [4, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0] + Array("GNU\0".utf8) + [1, 2, 3, 4]
    #expect(BuildID(notes: short + [0, 0, 0, 0] + id, alignment: 8)?.description == "abcdef")
    #expect(BuildID(notes: short + id, alignment: 4)?.description == "abcdef")
    #expect(BuildID(notes: Array(id.dropLast()), alignment: 4) == nil)
  }
}
