#include "services/thinking_splitter.h"

#include <algorithm>

namespace kvasir {
namespace {

constexpr std::string_view kOpen = "<think>", kClose = "</think>";
constexpr std::string_view kSpace = " \t\r\n";

}  // namespace

size_t UnfinishedWord(std::string_view text, std::string_view word) {
  size_t size = std::min(text.size(), word.size() - 1);
  while (size > 0 && !text.ends_with(word.substr(0, size))) --size;
  return size;
}

void ThinkingSplitter::BeginThinking() {
  state_ = State::kThinking;
  sink_(Part::kThinkingBegins, {});
}

void ThinkingSplitter::Write(std::string_view piece) {
  pending_ += piece;
  while (Step()) continue;
}

bool ThinkingSplitter::Step() {
  const size_t begin = std::min(pending_.find_first_not_of(kSpace), pending_.size());
  const std::string_view text = std::string_view(pending_).substr(begin);
  switch (state_) {
    case State::kBeginning:  // Only here do models think: later, <think> is a word like any other.
      if (text.starts_with(kOpen)) {
        pending_.erase(0, begin + kOpen.size());
        BeginThinking();
        return true;
      }
      if (kOpen.starts_with(text)) return false;
      state_ = State::kAnswering;
      return true;
    case State::kThinking: {
      const size_t end = pending_.find(kClose);
      const bool ends = end != std::string::npos;
      const size_t known = ends ? end : pending_.size() - UnfinishedWord(pending_, kClose);
      if (known > 0) sink_(Part::kThought, std::string_view(pending_).substr(0, known));
      pending_.erase(0, known + (ends ? kClose.size() : 0));
      if (!ends) return false;
      state_ = State::kAfterThinking;
      sink_(Part::kThinkingEnds, {});
      return true;
    }
    case State::kAfterThinking:
      pending_.erase(0, begin);
      if (pending_.empty()) return false;
      state_ = State::kAnswering;
      return true;
    case State::kAnswering:
      if (!pending_.empty()) sink_(Part::kAnswer, pending_);
      pending_.clear();
      return false;
  }
  return false;
}

void ThinkingSplitter::Finish() {
  if (!pending_.empty() && state_ != State::kAfterThinking) {
    sink_(state_ == State::kThinking ? Part::kThought : Part::kAnswer, pending_);
  }
  pending_.clear();
}

}  // namespace kvasir
