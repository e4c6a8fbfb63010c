-- timeout: 120
-- With SUSE's runtime: bad containers, entries, references and targets are refused before anything is sent, and under SUSE's
-- names the tool says and returns what it does on ours.
local t = require "ulp.scenario"
t.shared "suse_rows" {"bad_container", "bad_entry", "bad_references", "bad_target", "bad_units", "bad_special", "bad_traced",
  "bad_permission", "bad_process", "crash", "execs", "inherited", "upgraded", "interrupt", "cli", "ulp_name"}
