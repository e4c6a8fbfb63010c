-- timeout: 240
-- What SUSE's own tests demand of its runtime holds for ours under SUSE's tool: the scenarios of these tests, with that tool
-- in ulpsh's place.
local t = require "ulp.scenario"
local driver = t.shared "suse_driver"

for name in ([[
  numserv_bsymbolic parameters recursion2 pagecross terminal hidden constructor cancel exception_handling access process
  process_access notes dlopen_relative relative_paths
]]):gmatch "%S+" do driver.run(name) end
