#ifndef KVASIR_TOKENIZER_VOCABULARY_H_
#define KVASIR_TOKENIZER_VOCABULARY_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvasir {

// A token by its bytes: what it stands for in a text, no longer spelled in the byte alphabet.
struct TokenEntry {
  uint32_t id = 0;
  std::string_view bytes;
};

// Ids to bytes. Ids need not be dense: some may have no token.
class Vocabulary {
 public:
  // A larger id is refused when a file is read: the tables here are as long as the largest id.
  static constexpr uint32_t kMaxId = (1u << 22) - 2;

  Vocabulary() = default;
  // REQUIRES: every id at most kMaxId and given once; less than 4 GiB of bytes in all.
  explicit Vocabulary(std::span<const TokenEntry> tokens);

  // Largest id + 1.
  uint32_t size() const { return static_cast<uint32_t>(spans_.size()); }
  bool contains(uint32_t id) const { return id < spans_.size() && spans_[id].begin != kNoToken; }
  // REQUIRES: contains(id).
  std::string_view bytes(uint32_t id) const {
    return std::string_view(blob_).substr(spans_[id].begin, spans_[id].length);
  }
  // The bytes of all, one after the other. REQUIRES: contains each.
  std::string Join(std::span<const uint32_t> ids) const;

 private:
  static constexpr uint32_t kNoToken = ~0u;
  struct Span {
    uint32_t begin = kNoToken;
    uint32_t length = 0;
  };

  static constexpr size_t kCopied = 16;  // How many bytes Join copies at a time, needed or not.

  std::string blob_;         // All tokens' bytes, one after the other, then kCopied zeros.
  std::vector<Span> spans_;  // [size()], where in blob_ each lies
};

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_VOCABULARY_H_
