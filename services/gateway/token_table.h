#ifndef KVASIR_SERVICES_GATEWAY_TOKEN_TABLE_H_
#define KVASIR_SERVICES_GATEWAY_TOKEN_TABLE_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/vocabulary.h"

namespace kvasir::gateway {

using TokenIds = std::vector<uint32_t>;

// What each id stands for in a text. Immutable.
class TokenTable {
 public:
  struct Added {
    uint32_t id = 0;
    bool special = false;  // no part of the text
  };

  // `bytes`: of each id; empty where it has no token. REQUIRES: added ids are less than its size.
  TokenTable(std::span<const std::string> bytes, std::span<const Added> added);

  // Empty where there is no such token.
  std::string_view bytes(uint32_t id) const {
    return vocabulary_.contains(id) ? vocabulary_.bytes(id) : std::string_view();
  }
  bool IsAdded(uint32_t id) const { return id < added_.size() && added_[id]; }
  bool IsSpecial(uint32_t id) const { return id < special_.size() && special_[id]; }
  size_t size() const { return added_.size(); }

 private:
  Vocabulary vocabulary_;
  std::vector<bool> added_, special_;  // [size()]
};

// Ids to text as they come, without special tokens. Bytes that may still become a character are
// held back; the texts, joined, are what Decode gives for all ids.
class TextDecoder {
 public:
  // REQUIRES: `table` outlives this.
  explicit TextDecoder(const TokenTable& table) : table_(table) {}

  std::string Push(uint32_t id);
  std::string Finish();

 private:
  const TokenTable& table_;
  std::string held_;
};

// How much two token sequences have in common: the most of the first ones of each that stand for
// the same text, with the same added tokens at the same places in it.
struct CommonPart {
  size_t held = 0;    // tokens of `held`
  size_t wanted = 0;  // tokens of `wanted`
};
CommonPart FindCommonPart(const TokenTable& table, std::span<const uint32_t> held,
                          std::span<const uint32_t> wanted);

}  // namespace kvasir::gateway

#endif  // KVASIR_SERVICES_GATEWAY_TOKEN_TABLE_H_
