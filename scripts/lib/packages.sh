# packages.sh: the Debian packages that the scripts need; sourced, not run.

packages_build="gcc g++ libc6-dev pkg-config liblua5.4-dev libelf-dev libdw-dev libreadline-dev lua-argparse lua-dkjson"
packages_test="make lua5.4 lua-check mandoc python3 strace gdb util-linux procps btrfs-progs"
packages_bench="make lua5.4"

# Prints which of the given packages are not installed.
packages_missing() {
  for package in "$@"; do
    dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed$' || printf '%s ' "$package"
  done
}

# Makes sure that the given packages are there: as root installs what is missing, otherwise names it and ends.
packages_ensure() {
  if ! command -v dpkg-query >/dev/null; then
    echo "$(basename "$0"): not a Debian system; these packages or their like are needed: $*" >&2
    return 0
  fi
  missing=$(packages_missing "$@")
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    echo "$(basename "$0"): these packages are missing: $missing" >&2
    echo "hint: run as root: apt-get install $missing" >&2
    exit 1
  fi
  echo "installing: $missing"
  export DEBIAN_FRONTEND=noninteractive
  # The lists of a fresh machine are empty or old: the first attempt may fail for that reason alone.
  # shellcheck disable=SC2086
  apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 || {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
  }
}

# Swift comes from its own archive, not from Debian.
packages_ensure_swift() {
  command -v swift >/dev/null && return 0
  echo "$(basename "$0"): swift 6.2 or later is not in PATH" >&2
  echo "hint: get it from https://www.swift.org/install/linux/" >&2
  exit 1
}
