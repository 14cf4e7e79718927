#include "tokenizer/added_tokens.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "tokenizer/nfc.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

namespace kvasir {
namespace {

// Where the run of white space that ends at `end` begins, not before `limit`.
size_t SpaceBegin(std::string_view text, size_t end, size_t limit) {
  while (end > limit) {
    const CodePoint last = DecodeLast(text, end);
    if (!(ClassesOf(last.value) & kWhiteSpace) || last.bytes > end - limit) break;
    end -= last.bytes;
  }
  return end;
}

// Where the run of white space that starts at `begin` ends, not past `limit`.
size_t SpaceEnd(std::string_view text, size_t begin, size_t limit) {
  while (begin < limit) {
    const CodePoint next = DecodeWellFormed(text.data() + begin);
    if (!(ClassesOf(next.value) & kWhiteSpace) || next.bytes > limit - begin) break;
    begin += next.bytes;
  }
  return begin;
}

bool TouchesWord(std::string_view text, ByteRange range) {
  return (range.begin > 0 && (ClassesOf(DecodeLast(text, range.begin).value) & kWordCharacter)) ||
         (range.end < text.size() &&
          (ClassesOf(DecodeWellFormed(text.data() + range.end).value) & kWordCharacter));
}

}  // namespace

AddedTokenTrie::AddedTokenTrie(std::vector<Pattern> patterns) : patterns_(std::move(patterns)) {
  std::stable_sort(patterns_.begin(), patterns_.end(),
                   [](const Pattern& a, const Pattern& b) { return a.text < b.text; });
  patterns_.erase(std::unique(patterns_.begin(), patterns_.end(),
                              [](const Pattern& a, const Pattern& b) { return a.text == b.text; }),
                  patterns_.end());
  roots_.fill(-1);

  // Breadth first, so that siblings are neighbours. A task is a node and the sorted patterns
  // [begin, end) that pass through it, which agree in their first `depth` bytes.
  struct Task {
    uint32_t node;
    size_t begin, end, depth;
  };
  std::vector<Task> tasks;
  const auto add_children = [&](size_t begin, size_t end, size_t depth) {
    uint16_t count = 0;
    while (begin < end) {
      const char label = patterns_[begin].text[depth];
      size_t last = begin;
      while (last < end && patterns_[last].text[depth] == label) ++last;
      tasks.push_back({static_cast<uint32_t>(nodes_.size()), begin, last, depth + 1});
      nodes_.push_back({.label = static_cast<uint8_t>(label)});
      begin = last;
      ++count;
    }
    return count;
  };
  const uint16_t roots = add_children(0, patterns_.size(), 0);
  for (uint16_t i = 0; i < roots; ++i) roots_[nodes_[i].label] = i;
  first_byte_ = roots == 1 ? nodes_[0].label : -1;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const Task task = tasks[i];
    size_t begin = task.begin;
    if (patterns_[begin].text.size() == task.depth) {
      nodes_[task.node].pattern = static_cast<int32_t>(begin++);
    }
    nodes_[task.node].first_child = static_cast<uint32_t>(nodes_.size());
    const uint16_t children = add_children(begin, task.end, task.depth);
    nodes_[task.node].children = children;
  }
}

size_t AddedTokenTrie::NextCandidate(std::string_view text, size_t begin, size_t end) const {
  if (first_byte_ >= 0) {
    const void* found = std::memchr(text.data() + begin, first_byte_, end - begin);
    return found == nullptr ? end : static_cast<const char*>(found) - text.data();
  }
  while (begin < end && roots_[static_cast<unsigned char>(text[begin])] < 0) ++begin;
  return begin;
}

int32_t AddedTokenTrie::Longest(std::string_view text) const {
  const int32_t root = roots_[static_cast<unsigned char>(text[0])];
  if (root < 0) return -1;
  const Node* node = &nodes_[root];
  int32_t longest = node->pattern;
  for (size_t i = 1; i < text.size(); ++i) {
    const Node* child = nodes_.data() + node->first_child;
    const Node* const end = child + node->children;
    while (child != end && child->label != static_cast<uint8_t>(text[i])) ++child;
    if (child == end) break;
    node = child;
    if (node->pattern >= 0) longest = node->pattern;
  }
  return longest;
}

void AddedTokenTrie::Find(std::string_view text, std::span<const ByteRange> trusted,
                          std::vector<Match>& matches) const {
  if (empty()) return;
  size_t taken = 0;  // The end of the last match: what it swallowed is no other's.
  for (const ByteRange& range : trusted) {
    const size_t end = std::min(range.end, text.size());
    size_t at = range.begin;
    while (at < end && (at = NextCandidate(text, at, end)) < end) {
      const int32_t found = Longest(text.substr(at, end - at));
      if (found < 0) {
        ++at;
        continue;
      }
      const auto& [pattern, token] = patterns_[found];
      Match match = {{at, at + pattern.size()}, token.id};
      at = match.range.end;  // The search goes on here, whatever becomes of this match.
      if (token.single_word && TouchesWord(text, match.range)) continue;
      if (token.lstrip) {
        match.range.begin = std::max(SpaceBegin(text, match.range.begin, range.begin), taken);
      }
      if (token.rstrip) match.range.end = SpaceEnd(text, match.range.end, end);
      taken = match.range.end;
      // An lstrip token all of which another has swallowed is gone.
      if (match.range.begin < match.range.end) matches.push_back(match);
    }
  }
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, bool nfc) : tokens_(std::move(tokens)) {
  // Of two that normalise to the same text the special one is found, else the first in the file.
  std::vector<AddedTokenTrie::Pattern> raw;
  std::vector<AddedTokenTrie::Pattern> normalized;
  for (const bool special : {true, false}) {
    for (const AddedToken& token : tokens_) {
      if (token.special != special) continue;
      std::string text;
      if (token.normalized && nfc) {
        AppendNfc(token.content, text, nullptr);
      } else {
        text = token.content;
      }
      (token.normalized ? normalized : raw).push_back({std::move(text), token});
    }
  }
  raw_ = AddedTokenTrie(std::move(raw));
  normalized_ = AddedTokenTrie(std::move(normalized));

  std::sort(tokens_.begin(), tokens_.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  if (!tokens_.empty()) special_.resize(tokens_.back().id + size_t{1});
  for (const AddedToken& token : tokens_) special_[token.id] = token.special;
}

}  // namespace kvasir
