#ifndef KVASIR_TESTS_ENGINE_JOURNAL_POWER_LOSS_VFS_H_
#define KVASIR_TESTS_ENGINE_JOURNAL_POWER_LOSS_VFS_H_

#include <sqlite3.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace kvasir::testing {

// A disk in memory whose power can be cut, as a file system (VFS) of SQLite's for one connection at
// a time.
//
// What a power loss leaves, the worst that SQLite's documentation ("Atomic Commit In SQLite")
// expects of a disk: of what was written to a file and not synced, any 512-byte sectors; sizes as
// before, as after, or between, with anything in what was not written; of names that were made or
// deleted and whose folder was not synced, any. As in SQLite's own unix VFS, the first sync of a
// log or journal syncs the folder.
class PowerLossDisk {
 public:
  // `name`: the VFS'.
  explicit PowerLossDisk(const std::string& name);
  ~PowerLossDisk();
  PowerLossDisk(const PowerLossDisk&) = delete;
  PowerLossDisk& operator=(const PowerLossDisk&) = delete;

  // The power goes with the operation number `operation`; they are counted from the disk's
  // beginning: writes, syncs, changes of size, new and deleted files. From then on all fails.
  void CutAt(uint64_t operation) { cut_at_ = operation; }
  // The power comes back: what is on the disk is chosen. No file may be open.
  void Restart(std::mt19937_64& random);
  bool is_off() const { return off_; }

  // From now on a sync does nothing.
  void IgnoreSyncs() { ignores_syncs_ = true; }
  // Files do not grow while it is full.
  void set_full(bool full) { full_ = full; }

  uint64_t operations() const { return operations_; }
  uint64_t syncs() const { return syncs_; }

 private:
  struct Change {
    uint64_t offset = 0;
    std::string data;
    std::optional<uint64_t> truncate_to;  // a change of size instead
  };
  struct File {
    std::string now, synced;
    std::vector<Change> unsynced;
  };
  using Folder = std::map<std::string, std::shared_ptr<File>>;
  struct Handle;
  struct Methods;  // what SQLite calls

  // False: the power is off, or goes now.
  bool Operate();
  static void Apply(const Change& change, std::string& content);
  static void Survive(File& file, std::mt19937_64& random);

  const std::string name_;
  sqlite3_vfs vfs_{};
  Folder now_, synced_;
  uint64_t operations_ = 0, syncs_ = 0;
  std::optional<uint64_t> cut_at_;
  bool off_ = false, ignores_syncs_ = false, full_ = false;
};

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_ENGINE_JOURNAL_POWER_LOSS_VFS_H_
