// Any bytes as a session's record and as a run of its tokens: what is accepted encodes to the same
// bytes. The checksums would stop nearly all of them, so each is also read with the right one.
#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/check.h"
#include "engine/journal/record_codec.h"

namespace {

std::string WithChecksum(std::string_view seed, std::string_view body) {
  const std::string covered = std::string(seed) + std::string(body);
  uint32_t crc = crc32_z(0, reinterpret_cast<const Bytef*>(covered.data()), covered.size());
  std::string bytes(body);
  for (int i = 0; i < 4; ++i, crc >>= 8) bytes.push_back(static_cast<char>(crc));
  return bytes;
}

void Read(const std::string& bytes) {
  const std::string id = kvasir::IdInRecord(bytes);
  if (const auto record = kvasir::DecodeRecord(id, bytes); record.ok()) {
    KVASIR_CHECK(kvasir::EncodeRecord(record->record, record->last_run) == bytes);
    kvasir::TokensReader reader(*record);
    KVASIR_CHECK(reader.Finish().ok() == (record->record.length == 0 && record->last_run == 0));
  }
  if (const auto run = kvasir::DecodeRun("id", "tokens", bytes); run.ok()) {
    KVASIR_CHECK(kvasir::EncodeRun("id", run->start, run->previous, run->tokens) == bytes);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  Read(std::string(bytes));
  Read(WithChecksum("", bytes));
  Read(WithChecksum(std::string_view("id\0", 3), bytes));
  return 0;
}
