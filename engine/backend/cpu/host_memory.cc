#include "engine/backend/cpu/host_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>

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

}  // namespace

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
