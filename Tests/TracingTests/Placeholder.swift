import Testing
@testable import Tracing
@Test func builds() { }
