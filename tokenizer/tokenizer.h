#ifndef KVASIR_TOKENIZER_TOKENIZER_H_
#define KVASIR_TOKENIZER_TOKENIZER_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_range.h"
#include "tokenizer/tokenizer_config.h"
#include "tokenizer/tokenizer_rules.h"
#include "tokenizer/vocabulary.h"

namespace kvasir {

struct EncodeOptions {
  // True: added tokens (such as <|im_end|>) are ordinary text. For untrusted input.
  bool plain = false;
};

// Text to token ids and back: byte-level BPE as in a Hugging Face tokenizer.json, id for id what
// Hugging Face `tokenizers` gives (without post-processing: Encode adds no token of its own).
// Immutable once made: every method may be called from any number of threads at once.
class Tokenizer {
 public:
  // Reads tokenizer.json, tokenizer_config.json and, where present, chat_template.jinja from
  // `directory`. NOT_FOUND names a file that is missing; INVALID_ARGUMENT names file and field of
  // what is broken or not implemented. `name`: what the model is called where the files do not say;
  // empty: as the directory. `chat_template`: Jinja source that takes the place of the model's own;
  // null: none does.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(
      const std::filesystem::path& directory, std::string name = "",
      const std::string* chat_template = nullptr);

  // The same from the files' texts. `tokenizer_config_json` may be empty.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromJson(
      std::string_view tokenizer_json, std::string_view tokenizer_config_json);

  // Any bytes: each maximal ill-formed UTF-8 subpart counts as one U+FFFD (WHATWG).
  std::vector<uint32_t> Encode(std::string_view text, EncodeOptions options = {}) const;

  // As Encode, but an added token is found only where it lies wholly inside one trusted range
  // (ranges that touch count as one); everything else is ordinary text, encoded as one with its
  // surroundings. The space that an lstrip or rstrip token swallows is trusted too, or stays.
  // REQUIRES: ranges ascending, disjoint, within `text`.
  std::vector<uint32_t> EncodeTrusted(std::string_view text,
                                      std::span<const ByteRange> trusted) const;

  // U+FFFD where the joined bytes are no UTF-8. INVALID_ARGUMENT for an id without a token.
  absl::StatusOr<std::string> Decode(std::span<const uint32_t> ids, bool skip_special) const;

  // OK when every id has a token, else INVALID_ARGUMENT that names `ids`, index, value and limit.
  absl::Status CheckIds(std::span<const uint32_t> ids) const;

  bool HasToken(uint32_t id) const { return vocabulary_.contains(id); }
  // The bytes that `id` stands for in decoded text, not always whole characters.
  // REQUIRES: HasToken(id).
  std::string_view TokenBytes(uint32_t id) const { return vocabulary_.bytes(id); }
  // Whether skip_special drops `id`. REQUIRES: id < vocab_size().
  bool IsSpecial(uint32_t id) const { return added_tokens_.IsSpecial(id); }

  // Ordered by id.
  std::span<const AddedToken> added_tokens() const { return added_tokens_.tokens(); }
  // Largest id + 1.
  uint32_t vocab_size() const { return vocabulary_.size(); }
  // XXH3-128, in hex, of all that decides ids: tokens, merges, added tokens, rules, chat template.
  const std::string& fingerprint() const { return fingerprint_; }
  // Jinja source: chat_template.jinja, else the one in tokenizer_config.json (the one named
  // "default" where there are several), else empty.
  const std::string& chat_template() const { return chat_template_; }
  const SpecialTokens& special_tokens() const { return special_tokens_; }
  // tokenizer_config.json's name_or_path, else the directory's own name, else empty.
  const std::string& model_name() const { return model_name_; }

 private:
  // `chat_template`: the file of that name, where there is one. `name`: the directory's.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromTexts(
      std::string tokenizer_json, std::string_view tokenizer_config_json,
      const std::string* chat_template, std::string name);

  struct Call;  // One call of Encode.

  Tokenizer() = default;

  Vocabulary vocabulary_;
  Bpe bpe_;
  AddedTokens added_tokens_;
  TokenizerRules rules_;
  std::string fingerprint_;
  std::string chat_template_;
  SpecialTokens special_tokens_;
  std::string model_name_;
};

}  // namespace kvasir

#endif  // KVASIR_TOKENIZER_TOKENIZER_H_
