import Testing

@testable import Inferior

private let id = "4f1b3e0c9a7d5e6f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f7"

@Suite struct ControlGroupTests {
  private func parse(_ text: String) -> ControlGroup { ControlGroup(text: Array(text.utf8)) }

  @Test(arguments: [
    ("0::/system.slice/nginx.service\n", "nginx.service", nil, nil),
    ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-vim.scope\n", "app-vim.scope", nil, nil),
    ("12:pids:/docker/\(id)\n1:name=systemd:/docker/\(id)\n", nil, id, "docker"),
    ("0::/system.slice/docker-\(id).scope\n", "docker-\(id).scope", id, "docker"),
    ("0::/machine.slice/libpod-\(id).scope/container\n", "libpod-\(id).scope", id, "podman"),
    ("0::/machine.slice/libpod-conmon-\(id).scope\n", "libpod-conmon-\(id).scope", nil, nil),
    ("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-\(id).scope\n", "cri-containerd-\(id).scope", id, "containerd"),
    ("0::/kubepods/besteffort/pod0a1b/\(id)\n", nil, id, nil),
    ("0::/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:\(id)\n", "containerd.service", id, "containerd"),
    ("0::/kubepods.slice/crio-\(id).scope/container\n", "crio-\(id).scope", id, "cri-o"),
    ("0::/lxc.payload.web/system.slice/nginx.service\n", "nginx.service", "web", "lxc"),
    ("4:memory:/lxc/web\n", nil, "web", "lxc"),
    ("0::/lxc.monitor.web\n", nil, nil, nil),
    ("0::/machine.slice/systemd-nspawn@my\\x2dweb.service/payload\n", "systemd-nspawn@my\\x2dweb.service", "my-web", "systemd-nspawn"),
    ("0::/machine.slice/machine-web.scope\n", "machine-web.scope", "web", "systemd-nspawn"),
    ("0::/machine.slice/machine-qemu\\x2d1\\x2dvm.scope\n", "machine-qemu\\x2d1\\x2dvm.scope", nil, nil),
    ("4:memory:/docker/\(id)\n1:name=systemd:/system.slice/cron.service\n0::/\n", "cron.service", id, "docker"),
  ] as [(String, String?, String?, String?)])
  func pathsNameUnitContainerAndEngine(text: String, unit: String?, container: String?, engine: String?) {
    let group = parse(text)
    #expect(group.unit == unit)
    #expect(group.container == container)
    #expect(group.engine == engine)
  }

  @Test(arguments: [
    "", "0::/\n", "garbage", ":::", "0::/docker/short\n", "0::/machine.slice/systemd-nspawn@.service\n", "0::/\\x2\n",
  ])
  func nothingIsMadeOfNothing(text: String) {
    let group = parse(text)
    #expect(group.container == nil)
    #expect(group.engine == nil)
  }
}
