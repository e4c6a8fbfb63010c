-- timeout: 180
-- With SUSE's runtime: parameters of every class, recursion, stacked versions, entries of every form and place, private
-- functions, C++, and programs that are patched themselves, whatever their name.
local t = require "ulp.scenario"
t.shared "suse_rows" {"numserv", "numserv_bsymbolic", "parameters", "recursion", "recursion2", "revert", "pagecross", "forms",
  "hidden", "cxx_methods", "process", "process_access", "process_names", "notes", "optimisation"}
