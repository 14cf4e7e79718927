#include "services/gateway/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "services/thinking_splitter.h"

namespace kvasir::gateway {

std::string StopMatcher::Push(std::string_view piece) {
  if (stopped_) return "";
  std::string text = std::exchange(held_, {});
  text += piece;
  // The word that is whole first ends the text.
  size_t first_end = std::string::npos, cut = std::string::npos;
  for (const std::string& word : words_) {
    const size_t begin = text.find(word);
    if (begin == std::string::npos) continue;
    const size_t end = begin + word.size();
    if (end > first_end || (end == first_end && begin > cut)) continue;
    first_end = end;
    cut = begin;
  }
  if (cut != std::string::npos) {
    stopped_ = true;
    text.resize(cut);
    return text;
  }
  size_t held = 0;
  for (const std::string& word : words_) held = std::max(held, UnfinishedWord(text, word));
  held_ = text.substr(text.size() - held);
  text.resize(text.size() - held);
  return text;
}

std::string StopMatcher::Finish() { return std::exchange(held_, {}); }

}  // namespace kvasir::gateway
