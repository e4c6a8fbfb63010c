import CLinux
import Glibc
import Testing

@testable import Inferior
@testable import LivePatch
@testable import Tracing

extension Live {
  @Suite(.serialized) struct Receipts {
    /// What is changed behind the session's back while a thread is stopped is told, each by its name.
    @Test(arguments: ["rbx", "signal mask", "extended state", "errno", "oom_score_adj"]) func damageToAStoppedThreadIsNamed(what: String) throws {
      ul_set_receipts(1)
      defer { ul_set_receipts(0) }
      let target = try Target("numserv")
      var session = try TraceSession(target.process.memory)
      let wanted = session.receipt
      let receipt = try #require(wanted)
      receipt.errnoOffset = target.process.errnoOffset
      let tid = target.pid
      func damage(_ session: borrowing TraceSession) throws {
        var raw = user_regs_struct()
        #expect(ul_get_registers(tid, &raw) >= 0)
        switch what {
        case "rbx":
          raw.rbx ^= 0x100
          #expect(ul_set_registers(tid, &raw) >= 0)
        case "signal mask":
          var mask: UInt64 = 0
          #expect(ul_get_signal_mask(tid, &mask) >= 0 && ul_set_signal_mask(tid, mask ^ 0x200) >= 0)
        case "extended state":
          var state = try session.extendedState(of: tid)
          state[160 + 7] ^= 1  // xmm0
          #expect(ul_set_xstate(tid, state, state.count) >= 0)
        case "errno":
          let place = raw.fs_base &+ receipt.errnoOffset!
          try target.process.memory.store(try target.process.memory.load(place, as: Int32.self) ^ 1, to: place)
        default:
          let descriptor = open("/proc/\(tid)/oom_score_adj", O_RDWR)
          defer { close(descriptor) }
          var digit: UInt8 = 0
          #expect(read(descriptor, &digit, 1) == 1)
          #expect(pwrite(descriptor, digit == UInt8(ascii: "0") ? "500" : "0", digit == UInt8(ascii: "0") ? 3 : 1, 0) > 0)
        }
      }
      _ = try session.stopWorld(until: .patient)
      session.resumeWorld()
      #expect(receipt.differences == [] && receipt.stops == 1 && receipt.worldStops == 1, "\(receipt.differences)")
      for _ in 0..<2 {  // and back
        _ = try session.stopWorld(until: .patient)
        try damage(session)
        session.resumeWorld()
      }
      #expect(receipt.differences.allSatisfy { $0.what == what && $0.cause == .ulpsh }, "\(receipt.differences)")
      #expect(!receipt.differences.isEmpty && receipt.hasFault)
      session.end()
      #expect(try target.ask("dozen") == "12")
      #expect(target.isUnharmed)
    }

    /// A callee that writes into its carrier's frame would come back as another thread.
    @Test func damageToTheFrameOfACallIsNamed() throws {
      ul_set_receipts(1)
      defer { ul_set_receipts(0) }
      let target = try Target("numserv")
      let site = target.runtime.callSite
      for damages in [false, true] {
        // Only a carrier out of a system call is met again: the program reads its input.
        while ThreadList.state(of: target.pid, in: target.pid) != UInt8(ascii: "S") { usleep(1000) }
        var session = try TraceSession(target.process.memory)
        let wanted = session.receipt
        let receipt = try #require(wanted)
        _ = try session.stop(session.rightHolder, until: .patient)
        let getpid = try #require(try target.process.symbol("getpid"))
        try session.beginCall(on: target.pid, site, function: getpid, arguments: [], sequence: 7, owner: target.process.identity)
        // Bytes between the arguments and the extended state are nobody's.
        if damages { try target.process.memory.store(UInt64(1), to: session.activeFrame + 200) }
        _ = try session.awaitCall(on: target.pid, site, sequence: 7, until: .patient)
        session.endCall(on: target.pid)
        #expect(receipt.calls == 1 && receipt.carriersMet == 1)
        #expect(receipt.differences.map(\.what) == (damages ? ["call frame"] : []), "\(receipt.differences)")
        session.end()
      }
      #expect(try target.ask("dozen") == "12")
      #expect(target.isUnharmed)
    }
  }
}
