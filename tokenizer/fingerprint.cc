#include "tokenizer/fingerprint.h"

#include <xxhash.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tokenizer/pretokenizer.h"

namespace kvasir {
namespace {

class Hash {
 public:
  Hash() : state_(XXH3_createState()) { XXH3_128bits_reset(state_.get()); }

  void Add(uint64_t number) {
    unsigned char bytes[8];  // The same on machines of either byte order.
    for (int i = 0; i < 8; ++i) bytes[i] = static_cast<unsigned char>(number >> 8 * i);
    XXH3_128bits_update(state_.get(), bytes, sizeof(bytes));
  }
  void Add(std::string_view text) {
    Add(text.size());
    XXH3_128bits_update(state_.get(), text.data(), text.size());
  }
  std::string Hex() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    return absl::StrCat(absl::Hex(hash.high64, absl::kZeroPad16),
                        absl::Hex(hash.low64, absl::kZeroPad16));
  }

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> state_;
};

}  // namespace

std::string FingerprintOf(const TokenizerJson& json, std::string_view chat_template,
                          const SpecialTokens& special_tokens) {
  Hash hash;
  hash.Add(ExpressionOf(json.rules.split));
  hash.Add(json.rules.nfc);
  hash.Add(json.vocabulary.size());
  for (uint32_t id = 0; id < json.vocabulary.size(); ++id) {
    hash.Add(json.vocabulary.contains(id));
    if (json.vocabulary.contains(id)) hash.Add(json.vocabulary.bytes(id));
  }
  if (json.rules.prefix_space || json.rules.ignore_merges) {
    hash.Add(json.rules.prefix_space | json.rules.ignore_merges << 1);
  }
  // Two tokens may have the same bytes, of which only one is a byte's.
  for (const uint32_t id : json.byte_ids) hash.Add(id);
  hash.Add(json.merges.size());
  for (const Merge& merge : json.merges) {
    hash.Add(uint64_t{merge.left} << 32 | merge.right);
    hash.Add(merge.result);
  }
  // In the file's order, which decides between two that normalise to the same text.
  hash.Add(json.added_tokens.size());
  for (const AddedToken& token : json.added_tokens) {
    hash.Add(token.id);
    hash.Add(token.content);
    hash.Add(token.special | token.lstrip << 1 | token.rstrip << 2 | token.single_word << 3 |
             token.normalized << 4);
  }
  for (const std::string* token : {&special_tokens.bos, &special_tokens.eos, &special_tokens.pad}) {
    hash.Add(*token);
  }
  hash.Add(chat_template);
  return hash.Hex();
}

std::string FingerprintOf(std::string_view text) {
  Hash hash;
  hash.Add(text);
  return hash.Hex();
}

}  // namespace kvasir
