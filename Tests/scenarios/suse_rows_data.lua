-- timeout: 120
-- With SUSE's runtime: variables of a library, thread-local ones, strong and missing symbols, other builds, other root
-- directories, paths, labels, exceptions, and programs that load while they start.
local t = require "ulp.scenario"
t.shared "suse_rows" {"access", "tls", "visibility", "missing_function", "buildid", "chroot", "chroot_proc", "relative_paths",
  "dlopen_relative", "labels", "exception_handling", "constructor", "ownership", "run_libc", "tempfiles"}
