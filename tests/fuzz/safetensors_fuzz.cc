// Any bytes as a safetensors file: a status, never a crash, and what is accepted covers it.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/check.h"
#include "engine/model/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto header = kvasir::ParseSafetensorsHeader("fuzz", bytes, size);
  if (!header.ok()) return 0;
  uint64_t covered = header->data_start;
  for (const auto& [name, entry] : header->tensors) {
    KVASIR_CHECK(entry.begin <= entry.end && header->data_start + entry.end <= size);
    covered += entry.end - entry.begin;
  }
  KVASIR_CHECK(covered == size);  // every byte belongs to one tensor
  return 0;
}
