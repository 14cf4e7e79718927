#include "tests/engine/journal/power_loss_vfs.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "engine/check.h"

namespace kvasir::testing {
namespace {

constexpr size_t kSector = 512;

uint64_t Below(uint64_t end, std::mt19937_64& random) { return random() % end; }

}  // namespace

// An open file. SQLite allocates it.
struct PowerLossDisk::Handle {
  sqlite3_file base;  // first: SQLite's view of it
  PowerLossDisk* disk;
  std::shared_ptr<File> file;
  bool syncs_folder;
  std::vector<std::unique_ptr<std::string>> shared_memory;
};

bool PowerLossDisk::Operate() {
  if (off_) return false;
  if (operations_++ == cut_at_) off_ = true;
  return !off_;
}

void PowerLossDisk::Apply(const Change& change, std::string& content) {
  if (change.truncate_to) {
    content.resize(*change.truncate_to);
    return;
  }
  const size_t end = change.offset + change.data.size();
  if (content.size() < end) content.resize(end);
  content.replace(change.offset, change.data.size(), change.data);
}

void PowerLossDisk::Survive(File& file, std::mt19937_64& random) {
  // None, all, or any of the sectors.
  const uint64_t kept_of_4 = std::vector<uint64_t>{0, 4, 1, 2, 3}[Below(5, random)];
  const auto survives = [&] { return Below(4, random) < kept_of_4; };
  size_t largest = file.synced.size();
  std::string content = file.synced;
  for (const Change& change : file.unsynced) {
    if (change.truncate_to) {
      if (survives()) Apply(change, content);
      continue;
    }
    largest = std::max(largest, change.offset + change.data.size());
    for (size_t begin = 0; begin < change.data.size();) {
      const size_t to_boundary = kSector - (change.offset + begin) % kSector;
      const size_t count = std::min(to_boundary, change.data.size() - begin);
      if (survives()) {
        Apply({change.offset + begin, change.data.substr(begin, count), std::nullopt}, content);
      }
      begin += count;
    }
  }
  // The size was written down, and not what is in it.
  const size_t written = content.size();
  if (written < largest && Below(3, random) == 0) {
    content.resize(written + Below(largest - written + 1, random));
    if (Below(2, random) == 0) {
      for (size_t i = written; i < content.size(); ++i) content[i] = static_cast<char>(random());
    }
  }
  file.now = file.synced = content;
  file.unsynced.clear();
}

void PowerLossDisk::Restart(std::mt19937_64& random) {
  Folder left;
  Folder all = now_;
  all.insert(synced_.begin(), synced_.end());
  for (const auto& [name, file] : all) {
    const auto now = now_.find(name);
    const auto synced = synced_.find(name);
    const bool as_now = Below(2, random) == 0;
    const auto& entry = as_now ? now : synced;
    if (entry != (as_now ? now_.end() : synced_.end())) left[name] = entry->second;
  }
  for (const auto& [name, file] : left) Survive(*file, random);
  now_ = synced_ = left;
  off_ = false;
  cut_at_.reset();
}

// What SQLite calls. An error is what a disk without power gives.
struct PowerLossDisk::Methods {
  static Handle& Of(sqlite3_file* file) { return *reinterpret_cast<Handle*>(file); }
  static PowerLossDisk& Of(sqlite3_vfs* vfs) { return *static_cast<PowerLossDisk*>(vfs->pAppData); }

  static int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags,
                  int* out_flags) {
    PowerLossDisk& disk = Of(vfs);
    file->pMethods = nullptr;
    if (disk.off_) return SQLITE_CANTOPEN;
    std::shared_ptr<File> opened;
    if (name == nullptr) {
      opened = std::make_shared<File>();  // temporary
    } else if (const auto found = disk.now_.find(name); found != disk.now_.end()) {
      opened = found->second;
    } else {
      if ((flags & SQLITE_OPEN_CREATE) == 0 || !disk.Operate()) return SQLITE_CANTOPEN;
      opened = disk.now_[name] = std::make_shared<File>();
    }
    constexpr int kJournals =
        SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL;
    auto* handle = new (file) Handle{{}, &disk, std::move(opened), false, {}};
    handle->syncs_folder = (flags & kJournals) != 0 && (flags & SQLITE_OPEN_CREATE) != 0;
    handle->base.pMethods = FileMethods();
    if (out_flags != nullptr) *out_flags = flags;
    return SQLITE_OK;
  }
  static int Delete(sqlite3_vfs* vfs, const char* name, int sync_folder) {
    PowerLossDisk& disk = Of(vfs);
    if (!disk.now_.contains(name)) return SQLITE_IOERR_DELETE_NOENT;
    if (!disk.Operate()) return SQLITE_IOERR_DELETE;
    disk.now_.erase(name);
    if (sync_folder != 0 && !disk.ignores_syncs_) disk.synced_ = disk.now_;
    return SQLITE_OK;
  }
  static int Access(sqlite3_vfs* vfs, const char* name, int /*flags*/, int* result) {
    *result = Of(vfs).now_.contains(name) ? 1 : 0;
    return SQLITE_OK;
  }
  static int FullPathname(sqlite3_vfs* /*vfs*/, const char* name, int size, char* out) {
    sqlite3_snprintf(size, out, "%s", name);
    return SQLITE_OK;
  }

  static int Close(sqlite3_file* file) {
    Of(file).~Handle();
    return SQLITE_OK;
  }
  static int Read(sqlite3_file* file, void* out, int count, sqlite3_int64 offset) {
    Handle& handle = Of(file);
    if (handle.disk->off_) return SQLITE_IOERR_READ;
    const std::string& content = handle.file->now;
    const size_t begin = std::min<size_t>(offset, content.size());
    const size_t there = std::min<size_t>(count, content.size() - begin);
    std::memcpy(out, content.data() + begin, there);
    std::memset(static_cast<char*>(out) + there, 0, count - there);
    return there == count ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
  }
  // What is under way when the power goes may have happened.
  static int Do(sqlite3_file* file, Change change, int error) {
    Handle& handle = Of(file);
    if (handle.disk->off_) return error;
    const bool done = handle.disk->Operate();
    Apply(change, handle.file->now);
    handle.file->unsynced.push_back(std::move(change));
    return done ? SQLITE_OK : error;
  }
  static int Write(sqlite3_file* file, const void* data, int count, sqlite3_int64 offset) {
    Handle& handle = Of(file);
    if (handle.disk->full_ && offset + count > handle.file->now.size()) return SQLITE_FULL;
    return Do(file,
              {static_cast<uint64_t>(offset), std::string(static_cast<const char*>(data), count),
               std::nullopt},
              SQLITE_IOERR_WRITE);
  }
  static int Truncate(sqlite3_file* file, sqlite3_int64 size) {
    return Do(file, {0, "", static_cast<uint64_t>(size)}, SQLITE_IOERR_TRUNCATE);
  }
  static int Sync(sqlite3_file* file, int /*flags*/) {
    Handle& handle = Of(file);
    PowerLossDisk& disk = *handle.disk;
    if (!disk.Operate()) return SQLITE_IOERR_FSYNC;
    ++disk.syncs_;
    if (disk.ignores_syncs_) return SQLITE_OK;
    for (const Change& change : handle.file->unsynced) Apply(change, handle.file->synced);
    handle.file->unsynced.clear();
    if (handle.syncs_folder) disk.synced_ = disk.now_;
    handle.syncs_folder = false;
    return SQLITE_OK;
  }
  static int FileSize(sqlite3_file* file, sqlite3_int64* size) {
    *size = static_cast<sqlite3_int64>(Of(file).file->now.size());
    return SQLITE_OK;
  }
  static int Lock(sqlite3_file* /*file*/, int /*level*/) { return SQLITE_OK; }
  static int CheckReservedLock(sqlite3_file* /*file*/, int* result) {
    *result = 0;
    return SQLITE_OK;
  }
  static int FileControl(sqlite3_file* /*file*/, int /*what*/, void* /*argument*/) {
    return SQLITE_NOTFOUND;
  }
  static int SectorSize(sqlite3_file* /*file*/) { return 4096; }
  static int DeviceCharacteristics(sqlite3_file* /*file*/) {
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
  }
  static int ShmMap(sqlite3_file* file, int region, int size, int extend, void volatile** out) {
    auto& memory = Of(file).shared_memory;
    while (extend != 0 && memory.size() <= region) {
      memory.push_back(std::make_unique<std::string>(size, '\0'));
    }
    *out = region < memory.size() ? memory[region]->data() : nullptr;
    return SQLITE_OK;
  }
  static int ShmLock(sqlite3_file* /*file*/, int /*offset*/, int /*count*/, int /*flags*/) {
    return SQLITE_OK;
  }
  static void ShmBarrier(sqlite3_file* /*file*/) {}
  static int ShmUnmap(sqlite3_file* file, int /*remove*/) {
    Of(file).shared_memory.clear();
    return SQLITE_OK;
  }

  static const sqlite3_io_methods* FileMethods() {
    static constexpr sqlite3_io_methods kMethods = {2,
                                                    Close,
                                                    Read,
                                                    Write,
                                                    Truncate,
                                                    Sync,
                                                    FileSize,
                                                    Lock,
                                                    Lock,
                                                    CheckReservedLock,
                                                    FileControl,
                                                    SectorSize,
                                                    DeviceCharacteristics,
                                                    ShmMap,
                                                    ShmLock,
                                                    ShmBarrier,
                                                    ShmUnmap,
                                                    nullptr,
                                                    nullptr};
    return &kMethods;
  }
};

PowerLossDisk::PowerLossDisk(const std::string& name) : name_(name) {
  vfs_ = *sqlite3_vfs_find(nullptr);  // time and randomness are the system's
  vfs_.iVersion = 1;
  vfs_.szOsFile = sizeof(Handle);
  vfs_.pNext = nullptr;
  vfs_.zName = name_.c_str();
  vfs_.pAppData = this;
  vfs_.xOpen = Methods::Open;
  vfs_.xDelete = Methods::Delete;
  vfs_.xAccess = Methods::Access;
  vfs_.xFullPathname = Methods::FullPathname;
  KVASIR_CHECK(sqlite3_vfs_register(&vfs_, 0) == SQLITE_OK);
}

PowerLossDisk::~PowerLossDisk() { sqlite3_vfs_unregister(&vfs_); }

}  // namespace kvasir::testing
