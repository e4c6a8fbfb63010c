-- Scripts and the standard library: Lua 5.4, no globals of their own.
std = "lua54"
max_line_length = 130
codes = true
exclude_files = { ".build", ".build-*", "Tests/fuzz" }
read_globals = { "ulp" }
files["stdlib/meta"] = { ignore = { "111", "112", "113", "121", "131", "211", "212", "241", "561" } }
