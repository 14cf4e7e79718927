#include "tokenizer/stream_decoder.h"

#include <utility>

#include "tokenizer/utf8.h"

namespace kvasir {

absl::StatusOr<std::string> StreamDecoder::Push(std::span<const uint32_t> ids) {
  if (absl::Status status = tokenizer_->CheckIds(ids); !status.ok()) return status;
  std::string bytes = std::exchange(held_, {});
  for (const uint32_t id : ids) {
    if (!skip_special_ || !tokenizer_->IsSpecial(id)) bytes += tokenizer_->TokenBytes(id);
  }
  const size_t whole = bytes.size() - UnfinishedTail(bytes);
  held_ = bytes.substr(whole);
  bytes.resize(whole);
  std::string text;
  AppendRepaired(bytes, text, nullptr);
  return text;
}

std::string StreamDecoder::Finish() {
  std::string text;
  AppendRepaired(std::exchange(held_, {}), text, nullptr);
  return text;
}

}  // namespace kvasir
