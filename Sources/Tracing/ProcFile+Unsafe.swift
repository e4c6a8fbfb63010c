import CLinux
import Glibc

/// One getdents64(2) into a raw buffer. The kernel writes at most `buffer.count` bytes and returns how many.
func getdents(_ descriptor: Int32, _ buffer: UnsafeMutableRawBufferPointer) -> Int {
  ul_getdents(descriptor, buffer.baseAddress, buffer.count)
}

extension ProcFile {
  /// The value of a `Name:\tvalue` line of /proc/PID/status, without the tab. Every process is asked for a dozen of them, so
  /// lines are passed over by memchr(3), which stays in the array.
  public static func field(_ name: StaticString, of status: [UInt8]) -> ArraySlice<UInt8>? {
    let length = name.utf8CodeUnitCount
    let found = status.withUnsafeBytes { bytes -> Range<Int>? in
      guard let first = bytes.baseAddress else { return nil }
      var start = 0
      while start < bytes.count {
        let newline = memchr(first + start, 0x0a, bytes.count - start)
        let end = newline.map { UnsafeRawPointer($0) - first } ?? bytes.count
        if end - start > length, bytes[start + length] == 0x3a, memcmp(first + start, name.utf8Start, length) == 0 {
          var value = start + length + 1
          while value < end && (bytes[value] == 0x09 || bytes[value] == 0x20) { value += 1 }
          return value..<end
        }
        start = end + 1
      }
      return nil
    }
    return found.map { status[$0] }
  }
}
