import Testing

@testable import Inferior

@Suite struct FreezerTests {
  private let mounts = Array(
    """
    23 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
    31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - tmpfs tmpfs rw,mode=755
    37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime shared:4 - cgroup cgroup rw,freezer
    38 31 0:35 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
    41 31 0:38 /pods /mnt/a\\040group rw,relatime - cgroup2 cgroup2 rw
    broken line - cgroup2

    """.utf8)

  @Test func hierarchiesThatFreezeAreFound() {
    let found = Hierarchy.parse(mounts)
    #expect(found.map(\.mountPoint) == ["/sys/fs/cgroup/freezer", "/mnt/a group"])
    #expect(found.map(\.root) == ["/", "/pods"])
    #expect(found.map(\.isUnified) == [false, true])
    #expect(found.map(\.file) == ["freezer.state", "cgroup.freeze"])
    #expect(found[0].isMeant(by: "freezer") && found[0].isMeant(by: "cpu,freezer") && !found[0].isMeant(by: "") && !found[0].isMeant(by: "cpu"))
    #expect(found[1].isMeant(by: "") && !found[1].isMeant(by: "freezer"))
    #expect(Hierarchy.parse([]).isEmpty)
  }

  @Test func groupsAreLookedAtFromInside() {
    let found = Hierarchy.parse(mounts)
    #expect(found[0].directories(of: "/a/b") == ["/sys/fs/cgroup/freezer/a/b", "/sys/fs/cgroup/freezer/a"])
    #expect(found[0].directories(of: "/") == [], "the root does not freeze")
    #expect(found[1].directories(of: "/pods/x") == ["/mnt/a group/x", "/mnt/a group"])
    #expect(found[1].directories(of: "/pods") == ["/mnt/a group"])
    // Not below what is mounted, or outside of our namespace.
    for path in ["/podsy/x", "/other", "/../x"] { #expect(found[1].directories(of: path[...]) == [], "\(path)") }
    #expect(found[0].directories(of: "/../x") == [])
  }
}
