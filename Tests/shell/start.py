"""What a start costs: libraries and code that must not be pulled in by accident."""

import glob
import os
import re
import subprocess

from harness import LIMIT, ROOT, ULPSH, contains, equal, test


def output(*command):
    return subprocess.run(command, capture_output=True, timeout=LIMIT).stdout.decode(errors="replace")


@test
def libraries_that_are_loaded_late_are_not_linked():
    needed = re.findall(r"\(NEEDED\).*\[(.*?)\]", output("readelf", "-d", ULPSH))
    contains(" ".join(needed), "liblua5.4.so")
    for library in ("libreadline", "libdw", "libelf", "libFoundation", "lib_FoundationICU"):
        equal([name for name in needed if name.startswith(library)], [])


@test
def no_object_uses_regular_expressions():
    """`text.contains("part")` is enough to link Swift's whole regular expression engine."""
    directory = os.path.dirname(ULPSH)
    modules = [name for name in os.listdir(os.path.join(ROOT, "Sources"))]
    objects = [path for name in modules for path in glob.glob(f"{directory}/{name}.build/**/*.o", recursive=True)]
    assert len(objects) > 20, f"only {len(objects)} objects were found in {directory}"
    guilty = [path for path in objects if "_StringProcessing" in output("nm", "-u", path)]
    equal([os.path.relpath(path, directory) for path in guilty], [])
