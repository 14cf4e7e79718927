#include "tokenizer/tokenizer_json.h"

#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/json_file.h"
#include "tokenizer/spellings.h"
#include "tokenizer/utf8.h"

namespace kvasir {
namespace {

using rapidjson::Value;

// Reads one file: each method its part of it.
class Reader {
 public:
  explicit Reader(const JsonFile& file) : file_(file) {}

  absl::StatusOr<TokenizerJson> Read();

 private:
  absl::Status ReadVocabulary(const Value& model);
  absl::Status ReadByteIds();
  void ReadWholeTokens();
  absl::Status ReadMerges(const Value& model);
  absl::Status ReadMerge(size_t rank, const Value& value);
  absl::Status ReadAddedTokens();
  Vocabulary ReadTokenBytes() const;
  absl::StatusOr<AddedToken> ReadAddedToken(const std::string& field, const Value& value);

  absl::StatusOr<uint32_t> ReadId(const std::string& field, const Value& value);
  absl::StatusOr<std::string_view> ReadText(const std::string& field, const Value& value);
  // Gives `id` the token spelled `spelling`.
  absl::Status AddToken(const std::string& field, uint32_t id, std::string_view spelling);

  const JsonFile& file_;
  TokenizerJson out_;
  Spellings tokens_;
};

absl::StatusOr<TokenizerJson> Reader::Read() {
  absl::StatusOr<TokenizerRules> rules = ReadTokenizerRules(file_);
  if (!rules.ok()) return rules.status();
  out_.rules = *rules;
  const Value* model = JsonFile::Find(file_.root(), "model");
  if (model == nullptr || !model->IsObject()) return file_.TypeError("model", "an object");
  if (absl::Status status = ReadVocabulary(*model); !status.ok()) return status;
  if (absl::Status status = ReadByteIds(); !status.ok()) return status;
  if (out_.rules.ignore_merges) ReadWholeTokens();
  if (absl::Status status = ReadMerges(*model); !status.ok()) return status;
  if (absl::Status status = ReadAddedTokens(); !status.ok()) return status;

  out_.vocabulary = ReadTokenBytes();
  return std::move(out_);
}

absl::Status Reader::ReadVocabulary(const Value& model) {
  const Value* vocabulary = JsonFile::Find(model, "vocab");
  if (vocabulary == nullptr || !vocabulary->IsObject()) {
    return file_.TypeError("model.vocab", "an object");
  }
  tokens_.Reserve(vocabulary->MemberCount());
  for (const auto& [name, value] : vocabulary->GetObject()) {
    absl::StatusOr<std::string_view> spelling = ReadText("model.vocab", name);
    if (!spelling.ok()) return spelling.status();
    // The common case makes no string for the field's name.
    if (value.IsUint() && value.GetUint() <= Vocabulary::kMaxId) {
      if (absl::Status status = AddToken("model.vocab", value.GetUint(), *spelling); !status.ok()) {
        return status;
      }
      continue;
    }
    return ReadId(absl::StrCat("model.vocab[", Quoted(*spelling), "]"), value).status();
  }
  return absl::OkStatus();
}

absl::Status Reader::ReadByteIds() {
  for (int byte = 0; byte < 256; ++byte) {
    std::string spelling;
    AppendUtf8(AlphabetCharacter(static_cast<unsigned char>(byte)), spelling);
    out_.byte_ids[byte] = tokens_.Find(spelling);
    if (out_.byte_ids[byte] == Spellings::kNone) {
      return file_.Error("model.vocab", absl::StrCat("no token ", Quoted(spelling),
                                                     " for the single byte ", byte));
    }
  }
  return absl::OkStatus();
}

// Pieces are looked up as the alphabet spells them. REQUIRES: no added tokens were read yet.
void Reader::ReadWholeTokens() {
  for (uint32_t id = 0; id < tokens_.size(); ++id) {
    if (tokens_.contains(id) && !tokens_[id].empty() && InAlphabet(tokens_[id])) {
      out_.whole_tokens.push_back(id);
    }
  }
}

absl::Status Reader::ReadMerges(const Value& model) {
  const Value* merges = JsonFile::Find(model, "merges");
  if (merges == nullptr || !merges->IsArray()) return file_.TypeError("model.merges", "an array");
  if (merges->Size() > MergeTable::kMaxMerges) {
    return file_.Error("model.merges", absl::StrCat(merges->Size(), " merges, more than the limit ",
                                                    "of ", MergeTable::kMaxMerges));
  }
  out_.merges.reserve(merges->Size());
  for (rapidjson::SizeType rank = 0; rank < merges->Size(); ++rank) {
    if (absl::Status status = ReadMerge(rank, (*merges)[rank]); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// Either ["left", "right"] or "left right".
absl::Status Reader::ReadMerge(size_t rank, const Value& value) {
  std::string_view left;
  std::string_view right;
  if (value.IsArray() && value.Size() == 2 && value[0].IsString() && value[1].IsString()) {
    left = JsonFile::String(value[0]);
    right = JsonFile::String(value[1]);
  } else if (value.IsString()) {
    left = JsonFile::String(value);
    const size_t space = left.find(' ');
    if (space != left.npos) right = left.substr(space + 1);
    if (space == left.npos || right.find(' ') != right.npos) {
      return file_.TypeError(Element("model.merges", rank), "two tokens with one space between");
    }
    left = left.substr(0, space);
  } else {
    return file_.TypeError(Element("model.merges", rank), "a pair of strings");
  }
  if (left.empty() || right.empty()) {
    return file_.TypeError(Element("model.merges", rank), "two tokens that are not empty");
  }
  const std::string joined = std::string(left).append(right);
  // Most files give the results of merges one id after the other.
  const uint32_t next = out_.merges.empty() ? 0 : out_.merges.back().result + 1;
  const uint32_t found[3] = {
      tokens_.Find(left), tokens_.Find(right),
      tokens_.contains(next) && tokens_[next] == joined ? next : tokens_.Find(joined)};
  for (int i = 0; i < 3; ++i) {
    if (found[i] != Spellings::kNone) continue;
    const std::string_view spellings[3] = {left, right, joined};
    return file_.Error(Element("model.merges", rank),
                       absl::StrCat(Quoted(spellings[i]), " names no token"));
  }
  out_.merges.push_back({found[0], found[1], found[2]});
  return absl::OkStatus();
}

absl::Status Reader::ReadAddedTokens() {
  const Value* list = JsonFile::Find(file_.root(), "added_tokens");
  if (list == nullptr) return absl::OkStatus();
  if (!list->IsArray()) return file_.TypeError("added_tokens", "an array");
  absl::flat_hash_map<std::string_view, size_t> seen;
  for (rapidjson::SizeType i = 0; i < list->Size(); ++i) {
    const std::string field = Element("added_tokens", i);
    absl::StatusOr<AddedToken> token = ReadAddedToken(field, (*list)[i]);
    if (!token.ok()) return token.status();
    const std::string_view content = JsonFile::String((*list)[i]["content"]);
    if (const auto [first, is_new] = seen.emplace(content, i); !is_new) {
      return file_.Error(
          absl::StrCat(field, ".content"),
          absl::StrCat(Quoted(content), " is added_tokens[", first->second, "] already"));
    }
    if (const uint32_t found = tokens_.Find(content); found == Spellings::kNone) {
      if (absl::Status status = AddToken(absl::StrCat(field, ".id"), token->id, content);
          !status.ok()) {
        return status;
      }
    } else if (found != token->id) {
      return file_.Error(
          absl::StrCat(field, ".id"),
          absl::StrCat(token->id, ", but model.vocab gives ", Quoted(content), " the id ", found));
    }
    out_.added_tokens.push_back(*std::move(token));
  }
  return absl::OkStatus();
}

absl::StatusOr<AddedToken> Reader::ReadAddedToken(const std::string& field, const Value& value) {
  if (!value.IsObject()) return file_.TypeError(field, "an object");
  AddedToken token;
  const Value* id = JsonFile::Find(value, "id");
  if (id == nullptr) return file_.TypeError(absl::StrCat(field, ".id"), "a token id");
  absl::StatusOr<uint32_t> number = ReadId(absl::StrCat(field, ".id"), *id);
  if (!number.ok()) return number.status();
  token.id = *number;
  const Value* content = JsonFile::Find(value, "content");
  if (content == nullptr || content->GetType() != rapidjson::kStringType ||
      content->GetStringLength() == 0) {
    return file_.TypeError(absl::StrCat(field, ".content"), "a string that is not empty");
  }
  absl::StatusOr<std::string_view> text = ReadText(absl::StrCat(field, ".content"), *content);
  if (!text.ok()) return text.status();
  token.content = *text;
  const std::pair<const char*, bool*> flags[] = {{"special", &token.special},
                                                 {"lstrip", &token.lstrip},
                                                 {"rstrip", &token.rstrip},
                                                 {"single_word", &token.single_word},
                                                 {"normalized", &token.normalized}};
  for (const auto& [member, flag] : flags) {
    absl::StatusOr<bool> read = file_.ReadBool(field, value, member);
    if (!read.ok()) return read.status();
    *flag = *read;
  }
  return token;
}

Vocabulary Reader::ReadTokenBytes() const {
  size_t size = 0;
  for (uint32_t id = 0; id < tokens_.size(); ++id) {
    if (tokens_.contains(id)) size += tokens_[id].size();
  }
  std::string bytes;
  bytes.reserve(size);  // Enough: the alphabet's characters have a byte or two.
  std::vector<TokenEntry> entries;
  entries.reserve(tokens_.size());
  for (uint32_t id = 0; id < tokens_.size(); ++id) {
    if (!tokens_.contains(id)) continue;
    const size_t begin = bytes.size();
    AppendTokenBytes(tokens_[id], bytes);
    entries.push_back({id, std::string_view(bytes).substr(begin)});
  }
  return Vocabulary(entries);
}

absl::StatusOr<uint32_t> Reader::ReadId(const std::string& field, const Value& value) {
  if (!value.IsUint64() || value.GetUint64() > Vocabulary::kMaxId) {
    return file_.TypeError(field, absl::StrCat("an id from 0 to ", Vocabulary::kMaxId));
  }
  return static_cast<uint32_t>(value.GetUint64());
}

absl::StatusOr<std::string_view> Reader::ReadText(const std::string& field, const Value& value) {
  // JSON's \u escapes can spell half a surrogate pair.
  const std::string_view text = JsonFile::String(value);
  if (WellFormedPrefix(text) != text.size()) {
    return file_.Error(field, "holds a string that is no UTF-8");
  }
  return text;
}

absl::Status Reader::AddToken(const std::string& field, uint32_t id, std::string_view spelling) {
  if (tokens_.Find(spelling) != Spellings::kNone) {
    return file_.Error(field, absl::StrCat("token ", Quoted(spelling), " comes twice"));
  }
  if (tokens_.contains(id)) {
    return file_.Error(
        field, absl::StrCat("id ", id, " is given twice, the second time to ", Quoted(spelling)));
  }
  tokens_.Add(id, spelling);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerJson> ParseTokenizerJson(std::string text) {
  absl::StatusOr<JsonFile> file = JsonFile::Parse("tokenizer.json", std::move(text));
  if (!file.ok()) return file.status();
  return Reader(*file).Read();
}

}  // namespace kvasir
