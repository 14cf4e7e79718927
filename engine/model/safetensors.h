#ifndef KVASIR_ENGINE_MODEL_SAFETENSORS_H_
#define KVASIR_ENGINE_MODEL_SAFETENSORS_H_

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace kvasir {

// One tensor as the header describes it; the byte range is relative to the data section.
struct SafetensorsEntry {
  std::string dtype;  // "BF16", "F16", "F32", ...
  std::vector<int64_t> shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct SafetensorsHeader {
  uint64_t data_start = 0;  // in the file
  std::map<std::string, SafetensorsEntry> tensors;
};

// Reads the header of a safetensors file (huggingface.co/docs/safetensors: u64 length, JSON, data)
// of which `bytes` holds the first part, at least the header, and `file_size` is the whole.
// INVALID_ARGUMENT naming `file` and the tensor: a header that is too long, broken or lies: byte
// ranges that leave the file, overlap, leave holes, or disagree with dtype and shape; a name twice.
// A dtype that is unknown here passes: who uses the tensor refuses it. REQUIRES: bytes.size() <=
// file_size.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view file,
                                                         std::string_view bytes,
                                                         uint64_t file_size);

// A file mapped for reading.
class MappedSafetensors {
 public:
  static absl::StatusOr<std::unique_ptr<MappedSafetensors>> Open(const std::filesystem::path& path);
  ~MappedSafetensors();
  MappedSafetensors(const MappedSafetensors&) = delete;
  MappedSafetensors& operator=(const MappedSafetensors&) = delete;

  const std::string& name() const { return name_; }
  const SafetensorsHeader& header() const { return header_; }
  std::string_view Data(const SafetensorsEntry& entry) const;
  // Gives the entry's pages back to the kernel; they come again from the file when read.
  void Release(const SafetensorsEntry& entry) const;

 private:
  MappedSafetensors(std::string name, char* data, size_t size)
      : name_(std::move(name)), data_(data), size_(size) {}

  std::string name_;
  char* data_;
  size_t size_;
  SafetensorsHeader header_;
};

}  // namespace kvasir

#endif  // KVASIR_ENGINE_MODEL_SAFETENSORS_H_
