import CLinux
import Testing

@testable import Tracing

/// What rt_sigreturn(2) is given to heal a thread without a runtime.
@Suite struct SignalFrameTests {
  private static func image(_ xstate: [UInt8], tiles: Range<Int>) throws -> [UInt8] {
    let site = BareCallSite(text: BareCallSite.restorerBytes + [0x5a, 0xc3, 0x48, 0x89, 0x02, 0xc3], at: 0x1000, cell: 0x2000)
    var raw = user_regs_struct()
    raw.rsp = 0x7fff_0000_0000
    let frame = SignalFrame(
      site: try #require(site), function: 0x4000, arguments: [], registers: Registers(raw), xstate: xstate, mask: 0, tiles: tiles)
    let place = frame.bytes.withUnsafeBytes { $0.load(fromByteOffset: 31 * 8, as: UInt64.self) }
    #expect(place % 64 == 0 && frame.address + UInt64(frame.bytes.count) <= raw.rsp - 128)
    return Array(frame.bytes[Int(place - frame.address)...])
  }

  private static func word(_ image: [UInt8], _ offset: Int) -> UInt32 {
    image.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self) }
  }

  /// A processor with AMX: 8 KiB of tiles behind 2816 bytes. The kernel takes no more than the thread itself has.
  @Test(arguments: [false, true]) func tilesAreInTheFrameWhenTheThreadHasThem(hasTiles: Bool) throws {
    var xstate = (0..<11008).map { UInt8(truncatingIfNeeded: $0 >> 3) }
    xstate.replaceSubrange(464..<472, with: [0xe7, 0x02, 0x06, 0, 0, 0, 0, 0])
    xstate.replaceSubrange(512..<520, with: [0xe7, 0x02, hasTiles ? 0x06 : 0x02, 0, 0, 0, 0, 0])
    let image = try Self.image(xstate, tiles: 2816..<11008)
    let size = hasTiles ? 11008 : 2816
    #expect(image.count == size + 4)
    #expect(Self.word(image, 464) == 0x4650_5853 && Self.word(image, 468) == UInt32(size + 4) && Self.word(image, 480) == UInt32(size))
    #expect(Self.word(image, size) == 0x4650_5845)
    #expect(image[512..<size].elementsEqual(xstate[512..<size]))
  }

  @Test func aStateWithoutTilesIsWhole() throws {
    let image = try Self.image([UInt8](repeating: 0, count: 2440), tiles: 0..<0)
    #expect(image.count == 2444 && Self.word(image, 480) == 2440 && Self.word(image, 2440) == 0x4650_5845)
  }
}
