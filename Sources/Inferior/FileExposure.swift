import Glibc

/// Who else could change or replace a file, by owner and permission bits of the file and of every directory on its way
/// (inode(7)): anybody but root and our own effective user. One sentence each; empty when nobody can, as far as these tell.
///
/// - Parameter path: absolute, without symbolic links.
public func fileExposures(_ path: String) -> [String] {
  var exposures: [String] = []
  var prefix = ""
  let parts = path.split(separator: "/", omittingEmptySubsequences: true)
  for (index, part) in ([""] + parts).enumerated() {
    if !part.isEmpty { prefix += "/" + part }
    let place = prefix.isEmpty ? "/" : prefix
    var facts = stat()
    guard stat(place, &facts) == 0 else { continue }
    let isFile = index == parts.count
    if facts.st_uid != 0 && facts.st_uid != geteuid() { exposures.append("\(place) belongs to user \(facts.st_uid)") }
    // In a sticky directory only the owner of a file can rename or remove it.
    if !isFile && facts.st_mode & S_ISVTX != 0 { continue }
    if facts.st_mode & S_IWOTH != 0 {
      exposures.append("everybody can write \(place)")
    } else if facts.st_mode & S_IWGRP != 0 && facts.st_gid != 0 {
      exposures.append("group \(facts.st_gid) can write \(place)")
    }
  }
  return exposures
}
