#include "engine/backend/cpu/host_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace kvasir {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kHugePage = size_t{2} << 20;

class MappedBuffer : public Buffer {
 public:
  MappedBuffer(void* data, size_t bytes, void* mapping, size_t mapped)
      : Buffer(data, bytes), mapping_(mapping), mapped_(mapped) {}
  ~MappedBuffer() override { munmap(mapping_, mapped_); }

 private:
  void* mapping_;
  size_t mapped_;
};

// The number behind `key` in a file of lines "key number ..."; 0 where there is none.
int64_t NumberBehind(const std::filesystem::path& file, const std::string& key) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    std::istringstream words(line);
    std::string word;
    int64_t number = 0;
    if (words >> word && word == key && words >> number) return number;
  }
  return 0;
}

// A file that is one number. Nothing: there is none, or it says "max".
std::optional<int64_t> Number(const std::filesystem::path& file) {
  std::ifstream stream(file);
  int64_t number = 0;
  if (stream >> number) return number;
  return std::nullopt;
}

}  // namespace

void Touch(Buffer& buffer) {
  for (size_t at = 0; at < buffer.bytes(); at += kPage) {
    static_cast<volatile char*>(buffer.data())[at] = 0;
  }
}

HostMemory ReadHostMemory(const std::filesystem::path& root) {
  const std::filesystem::path meminfo = root / "proc/meminfo";
  HostMemory memory = {NumberBehind(meminfo, "MemTotal:") * 1024,
                       NumberBehind(meminfo, "MemAvailable:") * 1024};
  struct Hierarchy {
    const char *folder, *limit, *usage;
  };
  for (const Hierarchy& group :
       {Hierarchy{"sys/fs/cgroup", "memory.max", "memory.current"},
        Hierarchy{"sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"}}) {
    const std::filesystem::path folder = root / group.folder;
    const std::optional<int64_t> limit = Number(folder / group.limit);
    if (!limit || *limit >= memory.total) continue;
    // Cached file pages count as usage, but give way.
    const int64_t used = Number(folder / group.usage).value_or(0) -
                         NumberBehind(folder / "memory.stat", "inactive_file");
    memory.total = *limit;
    memory.available = std::clamp<int64_t>(*limit - used, 0, memory.available);
  }
  return memory;
}

std::unique_ptr<Buffer> MapHostMemory(size_t bytes) {
  if (bytes > SIZE_MAX / 2) return nullptr;
  const size_t rounded = std::max(kPage, (bytes + kPage - 1) / kPage * kPage);
  const bool huge = rounded >= kHugePage;
  const size_t mapped = huge ? rounded + kHugePage : rounded;
  void* mapping = mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  uintptr_t data = reinterpret_cast<uintptr_t>(mapping);
  if (huge) {
    data = (data + kHugePage - 1) / kHugePage * kHugePage;
    madvise(reinterpret_cast<void*>(data), rounded, MADV_HUGEPAGE);  // a wish: may fail
  }
  return std::make_unique<MappedBuffer>(reinterpret_cast<void*>(data), bytes, mapping, mapped);
}

}  // namespace kvasir
