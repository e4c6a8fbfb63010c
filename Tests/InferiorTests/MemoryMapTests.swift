import Glibc
import Testing

@testable import Inferior

private func map(_ text: String) -> MemoryMap { MemoryMap(text: Array(text.utf8)) }

@Suite struct MemoryMapTests {
  @Test func linesAreWhatTheKernelWrites() throws {
    let found = map(
      """
      00400000-0040b000 r-xp 00002000 08:01 1234                               /usr/bin/a b
      7f0000000000-7f0000001000 rw-s 00000000 00:1a 99 /dev/shm/x (deleted)
      7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]
      7ffd00030000-7ffd00031000 ---p 00000000 00:00 0 \nffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]
      """
    ).mappings
    try #require(found.count == 5)
    #expect(found[0].range == 0x400000..<0x40b000 && found[0].permissions == "r-xp" && found[0].offset == 0x2000)
    #expect(found[0].path == "/usr/bin/a b" && found[0].isFile && !found[0].isDeleted && found[0].inode == 1234)
    #expect(found[0].device == 0x801)
    #expect(found[1].isDeleted && found[1].permissions == "rw-s" && found[1].path == "/dev/shm/x (deleted)")
    #expect(found[2].path == "[stack]" && !found[2].isFile)
    #expect(found[3].path == "" && found[3].permissions == "---p")
    #expect(found[4].range.lowerBound == 0xffff_ffff_ff60_0000)
  }

  @Test func devicesAreNumberedAsByStat() {
    #expect(deviceNumber(0x103, 0x5) == 0x10305)
    #expect(deviceNumber(8, 0x101) == 0x100801)
    #expect(deviceNumber(0x1fff, 0) == makedev(0x1fff, 0) && deviceNumber(0x103, 0xabcde) == makedev(0x103, 0xabcde))
  }

  @Test(arguments: [
    "", "\n\n", "00400000 r-xp 0 08:01 1 /x", "0040b000-00400000 r-xp 0 08:01 1 /x", "00400000-00400000 r-xp 0 08:01 1 /x",
    "00400000-00401000 r-x 0 08:01 1 /x", "00400000-00401000 r-xp zz 08:01 1 /x", "00400000-00401000 r-xp 0 0801 1 /x",
    "00400000-00401000 r-xp 0 08:01", "10000000000000000-20000000000000000 r-xp 0 08:01 1 /x", "-1000 r-xp 0 08:01 1 /x",
    "00400000-00401000 r-xp 0 08:01 99999999999999999999 /x",
  ]) func whatIsNoMappingIsLeftOut(text: String) {
    #expect(map(text).mappings.isEmpty)
  }

  @Test func anAddressIsInOneMappingOrNone() {
    let found = map(
      "1000-2000 r--p 0 08:01 7 /lib\n2000-3000 r-xp 1000 08:01 7 /lib\n5000-6000 rw-p 3000 08:01 7 /lib\n6000-7000 rw-p 0 00:00 0\n"
        + "8000-9000 r--p 0 08:01 7 /lib\n")
    #expect(found.mapping(containing: 0xfff) == nil && found.mapping(containing: 0x3000) == nil && found.mapping(containing: 0x9000) == nil)
    #expect(found.mapping(containing: 0x1000)?.offset == 0 && found.mapping(containing: 0x2fff)?.offset == 0x1000)
    #expect(found.imageBase(containing: 0x5500) == 0x1000)
    #expect(found.imageBase(containing: 0x6500) == 0x1000, ".bss is anonymous")
    #expect(found.imageBase(containing: 0x8500) == 0x8000, "a second copy has its own base")
    #expect(found.imageBase(containing: 0x4000) == nil)
  }

  @Test func ourOwnMapHasOurOwnAddresses() throws {
    var local = 0
    let address = withUnsafeBytes(of: &local) { UInt64(UInt(bitPattern: $0.baseAddress!)) }
    let found = MemoryMap(of: getpid())
    #expect(found.mappings.count > 10)
    #expect(try #require(found.mapping(containing: address)).isWritable)
    #expect(MemoryMap(of: 0x3fff_ffff).mappings.isEmpty)
  }
}

/// <sys/sysmacros.h>, which Swift does not see: glibc's own function.
@_silgen_name("gnu_dev_makedev") private func makedev(_ major: UInt32, _ minor: UInt32) -> UInt64
