import CLinux

/// One getdents64(2) into a raw buffer. The kernel writes at most `buffer.count` bytes and returns how many.
func getdents(_ descriptor: Int32, _ buffer: UnsafeMutableRawBufferPointer) -> Int {
  ul_getdents(descriptor, buffer.baseAddress, buffer.count)
}
