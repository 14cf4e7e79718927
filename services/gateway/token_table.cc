#include "services/gateway/token_table.h"

#include <utility>

#include "tokenizer/utf8.h"

namespace kvasir::gateway {
namespace {

Vocabulary MakeVocabulary(std::span<const std::string> bytes) {
  std::vector<TokenEntry> entries;
  entries.reserve(bytes.size());
  for (size_t id = 0; id < bytes.size(); ++id) {
    if (!bytes[id].empty()) entries.push_back({static_cast<uint32_t>(id), bytes[id]});
  }
  return Vocabulary(entries);
}

}  // namespace

TokenTable::TokenTable(std::span<const std::string> bytes, std::span<const Added> added)
    : vocabulary_(MakeVocabulary(bytes)), added_(bytes.size()), special_(bytes.size()) {
  for (const Added& token : added) {
    added_[token.id] = true;
    special_[token.id] = token.special;
  }
}

std::string TextDecoder::Push(uint32_t id) {
  if (table_.IsSpecial(id)) return "";
  std::string bytes = std::exchange(held_, {});
  bytes += table_.bytes(id);
  const size_t whole = bytes.size() - UnfinishedTail(bytes);
  held_ = bytes.substr(whole);
  bytes.resize(whole);
  std::string text;
  AppendRepaired(bytes, text, nullptr);
  return text;
}

std::string TextDecoder::Finish() {
  std::string text;
  AppendRepaired(std::exchange(held_, {}), text, nullptr);
  return text;
}

CommonPart FindCommonPart(const TokenTable& table, std::span<const uint32_t> held,
                          std::span<const uint32_t> wanted) {
  CommonPart common;
  size_t i = 0, j = 0;
  // What the tokens before i and j stand for is the same, but for these bytes that one of them has
  // more.
  std::string_view held_more, wanted_more;
  while (true) {
    if (held_more.empty() && wanted_more.empty()) {
      common = {i, j};
      while (i < held.size() && j < wanted.size() && held[i] == wanted[j]) common = {++i, ++j};
      if (i == held.size() || j == wanted.size()) return common;
      if (table.IsAdded(held[i]) || table.IsAdded(wanted[j])) return common;
    }
    // The shorter one goes on.
    const bool takes_held = held_more.empty();
    const std::span<const uint32_t> ids = takes_held ? held : wanted;
    size_t& at = takes_held ? i : j;
    if (at == ids.size() || table.IsAdded(ids[at]) || table.bytes(ids[at]).empty()) return common;
    (takes_held ? held_more : wanted_more) = table.bytes(ids[at++]);
    if (held_more.empty() || wanted_more.empty()) continue;
    const size_t size = std::min(held_more.size(), wanted_more.size());
    if (held_more.substr(0, size) != wanted_more.substr(0, size)) return common;
    held_more.remove_prefix(size);
    wanted_more.remove_prefix(size);
  }
}

}  // namespace kvasir::gateway
