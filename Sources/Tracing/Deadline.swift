import CLinux

/// A point on the monotonic clock, for waits that must end.
public struct Deadline: Sendable {
  /// Nanoseconds of CLOCK_MONOTONIC; `UInt64.max` never comes.
  public let nanoseconds: UInt64

  public init(afterMicroseconds microseconds: UInt64) {
    let (sum, overflow) = ul_monotonic_ns().addingReportingOverflow(microseconds &* 1000)
    nanoseconds = overflow ? .max : sum
  }

  public static var now: UInt64 { ul_monotonic_ns() }
  public var hasPassed: Bool { ul_monotonic_ns() >= nanoseconds }

  /// Microseconds left, 0 when it has passed.
  public var remainingMicroseconds: UInt64 {
    let now = ul_monotonic_ns()
    return now >= nanoseconds ? 0 : (nanoseconds - now) / 1000
  }
}
