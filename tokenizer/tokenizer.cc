#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tokenizer/fingerprint.h"
#include "tokenizer/nfc.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/text_edits.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/utf8.h"

namespace kvasir {
namespace {

absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    return absl::NotFoundError(absl::StrCat(path.string(), ": no such file"));
  }
  std::ifstream stream(path, std::ios::binary);
  std::string text(std::filesystem::file_size(path, error), '\0');
  if (error || !stream.read(text.data(), static_cast<std::streamsize>(text.size()))) {
    return absl::NotFoundError(absl::StrCat(path.string(), ": cannot be read"));
  }
  return text;
}

// Ranges that touch become one; empty ones go.
std::vector<ByteRange> Joined(std::span<const ByteRange> ranges) {
  std::vector<ByteRange> joined;
  for (const ByteRange& range : ranges) {
    if (range.begin >= range.end) continue;
    if (!joined.empty() && joined.back().end == range.begin) {
      joined.back().end = range.end;
    } else {
      joined.push_back(range);
    }
  }
  return joined;
}

// What of `ranges` lies in `within`, by offsets from its start.
std::vector<ByteRange> Clipped(std::span<const ByteRange> ranges, ByteRange within) {
  std::vector<ByteRange> clipped;
  auto range = std::partition_point(ranges.begin(), ranges.end(),
                                    [&](const ByteRange& r) { return r.end <= within.begin; });
  for (; range != ranges.end() && range->begin < within.end; ++range) {
    clipped.push_back({std::max(range->begin, within.begin) - within.begin,
                       std::min(range->end, within.end) - within.begin});
  }
  return clipped;
}

}  // namespace

// The steps, from the outside in: repair of ill-formed bytes, added tokens in the text as it came,
// NFC, added tokens in the normalised text, pieces, merges.
struct Tokenizer::Call {
  const Tokenizer& tokenizer;
  std::vector<uint32_t> ids;
  Bpe::Scratch scratch;
  std::string prefixed;    // A text with the space that its file's rules want before it.
  bool all_inert = false;  // NFC changes nothing.

  // Calls between(range) for each stretch between `matches`, and appends their ids.
  template <typename Between>
  void Divide(std::span<const AddedTokenTrie::Match> matches, size_t size, Between between) {
    size_t done = 0;
    for (const AddedTokenTrie::Match& match : matches) {
      if (done < match.range.begin) between(ByteRange{done, match.range.begin});
      ids.push_back(match.id);
      done = match.range.end;
    }
    if (done < size) between(ByteRange{done, size});
  }

  void EncodeBytes(std::string_view bytes, std::span<const ByteRange> trusted) {
    const size_t inert = InertPrefix(bytes);
    all_inert = inert == bytes.size();
    if (all_inert || WellFormedPrefix(bytes.substr(inert)) == bytes.size() - inert) {
      return EncodeText(bytes, trusted);
    }
    std::string text;
    std::vector<TextEdit> edits;
    AppendRepaired(bytes, text, trusted.empty() ? nullptr : &edits);
    EncodeText(text, Joined(MapThroughEdits(trusted, edits)));
  }

  void EncodeText(std::string_view text, std::span<const ByteRange> trusted) {
    std::vector<AddedTokenTrie::Match> matches;
    tokenizer.added_tokens_.raw().Find(text, trusted, matches);
    const bool look_further = !tokenizer.added_tokens_.normalized().empty() && !trusted.empty();
    Divide(matches, text.size(), [&](ByteRange range) {
      EncodeRaw(text.substr(range.begin, range.end - range.begin),
                look_further ? Clipped(trusted, range) : std::vector<ByteRange>());
    });
  }

  void EncodeRaw(std::string_view text, std::vector<ByteRange> trusted) {
    if (!tokenizer.rules_.nfc || all_inert || QuickCheckNfc(text))
      return EncodeNormalized(text, trusted);
    std::string normalized;
    std::vector<TextEdit> edits;
    AppendNfc(text, normalized, trusted.empty() ? nullptr : &edits);
    EncodeNormalized(normalized, Joined(MapThroughEdits(trusted, edits)));
  }

  void EncodeNormalized(std::string_view text, std::span<const ByteRange> trusted) {
    if (trusted.empty()) return EncodePieces(text);
    std::vector<AddedTokenTrie::Match> matches;
    tokenizer.added_tokens_.normalized().Find(text, trusted, matches);
    Divide(matches, text.size(), [&](ByteRange range) {
      EncodePieces(text.substr(range.begin, range.end - range.begin));
    });
  }

  void EncodePieces(std::string_view text) {
    if (tokenizer.rules_.prefix_space && text[0] != ' ') {
      prefixed = ' ';
      text = prefixed += text;
    }
    Splitter splitter(tokenizer.rules_.split, text);
    std::array<std::string_view, Bpe::kMaxPieces> pieces;
    while (const size_t count = splitter.Next(pieces)) {
      tokenizer.bpe_.Encode(std::span(pieces).first(count), text.data() + text.size(), scratch,
                            ids);
    }
  }
};

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::filesystem::path& directory,
                                                           std::string name,
                                                           const std::string* chat_template) {
  absl::StatusOr<std::string> tokenizer_json = ReadFile(directory / "tokenizer.json");
  if (!tokenizer_json.ok()) return tokenizer_json.status();
  absl::StatusOr<std::string> config_json = ReadFile(directory / "tokenizer_config.json");
  if (!config_json.ok()) return config_json.status();
  absl::StatusOr<std::string> own_template = ReadFile(directory / "chat_template.jinja");
  if (chat_template != nullptr && WellFormedPrefix(*chat_template) != chat_template->size()) {
    return absl::InvalidArgumentError("the chat template must be well-formed UTF-8");
  }
  if (chat_template == nullptr && own_template.ok()) chat_template = &*own_template;
  // "model/" has an empty last part.
  const std::filesystem::path whole = std::filesystem::absolute(directory).lexically_normal();
  if (name.empty()) {
    name = (whole.has_filename() ? whole.filename() : whole.parent_path().filename()).string();
  }
  return FromTexts(*std::move(tokenizer_json), *config_json, chat_template, std::move(name));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(
    std::string_view tokenizer_json, std::string_view tokenizer_config_json) {
  return FromTexts(std::string(tokenizer_json), tokenizer_config_json, nullptr, "");
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromTexts(
    std::string tokenizer_json, std::string_view tokenizer_config_json,
    const std::string* chat_template, std::string name) {
  absl::StatusOr<TokenizerJson> json = ParseTokenizerJson(std::move(tokenizer_json));
  if (!json.ok()) return json.status();
  absl::StatusOr<TokenizerConfig> config =
      ParseTokenizerConfig(tokenizer_config_json.empty() ? "{}" : tokenizer_config_json);
  if (!config.ok()) return config.status();
  if (chat_template != nullptr && WellFormedPrefix(*chat_template) != chat_template->size()) {
    return absl::InvalidArgumentError("chat_template.jinja: must be well-formed UTF-8");
  }

  std::unique_ptr<Tokenizer> tokenizer(new Tokenizer);
  if (chat_template == nullptr) chat_template = &config->chat_template;
  tokenizer->chat_template_ = *chat_template;
  tokenizer->special_tokens_ = std::move(config->special_tokens);
  tokenizer->model_name_ =
      config->name_or_path.empty() ? std::move(name) : std::move(config->name_or_path);
  tokenizer->fingerprint_ =
      FingerprintOf(*json, tokenizer->chat_template_, tokenizer->special_tokens_);
  tokenizer->rules_ = json->rules;
  tokenizer->added_tokens_ = AddedTokens(std::move(json->added_tokens), json->rules.nfc);
  tokenizer->vocabulary_ = std::move(json->vocabulary);
  tokenizer->bpe_ = Bpe(tokenizer->vocabulary_, json->byte_ids, json->merges,
                        json->rules.ignore_merges ? &json->whole_tokens : nullptr);
  return tokenizer;
}

std::vector<uint32_t> Tokenizer::Encode(std::string_view text, EncodeOptions options) const {
  const ByteRange all = {0, text.size()};
  return EncodeTrusted(text, std::span(&all, options.plain ? 0 : 1));
}

std::vector<uint32_t> Tokenizer::EncodeTrusted(std::string_view text,
                                               std::span<const ByteRange> trusted) const {
  Call call = {*this};
  call.ids.reserve(text.size() / 4 + 4);  // Near what prose needs.
  call.EncodeBytes(text, Joined(trusted));
  return std::move(call.ids);
}

absl::Status Tokenizer::CheckIds(std::span<const uint32_t> ids) const {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (vocabulary_.contains(ids[i])) continue;
    if (ids[i] < vocab_size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("ids[", i, "]: ", ids[i], " has no token in the vocabulary"));
    }
    return absl::InvalidArgumentError(
        absl::StrCat("ids[", i, "]: ", ids[i], " is outside the vocabulary of ", vocab_size()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Tokenizer::Decode(std::span<const uint32_t> ids,
                                              bool skip_special) const {
  if (absl::Status status = CheckIds(ids); !status.ok()) return status;
  std::vector<uint32_t> kept;
  if (skip_special) {
    std::copy_if(ids.begin(), ids.end(), std::back_inserter(kept),
                 [&](uint32_t id) { return !IsSpecial(id); });
    ids = kept;
  }
  std::string bytes = vocabulary_.Join(ids);
  if (WellFormedPrefix(bytes) == bytes.size()) return bytes;
  std::string text;
  AppendRepaired(bytes, text, nullptr);
  return text;
}

}  // namespace kvasir
