#include "services/cli/answer_view.h"

#include <algorithm>
#include <utility>

namespace kvasir::cli {
namespace {

constexpr std::string_view kOpen = "<think>", kClose = "</think>";
constexpr std::string_view kSpace = " \t\r\n";
constexpr std::string_view kDim = "\033[2m", kPlain = "\033[0m";

// How much of the end of `text` may be the start of `word`.
size_t Overlap(std::string_view text, std::string_view word) {
  size_t size = std::min(text.size(), word.size() - 1);
  while (size > 0 && !text.ends_with(word.substr(0, size))) --size;
  return size;
}

}  // namespace

AnswerView::AnswerView(Style style, bool begins_thinking, Out out)
    : style_(style), out_(std::move(out)), state_(State::kBeginning) {
  if (begins_thinking) Think();
}

void AnswerView::Write(std::string_view piece) {
  if (!style_.colours && !style_.hide_thinking) return out_(piece);
  pending_ += piece;
  while (Step()) continue;
}

bool AnswerView::Step() {
  const size_t begin = std::min(pending_.find_first_not_of(kSpace), pending_.size());
  const std::string_view text = std::string_view(pending_).substr(begin);
  switch (state_) {
    case State::kBeginning:  // Only here do models think: later, <think> is a word like any other.
      if (text.starts_with(kOpen)) {
        pending_.erase(0, begin + kOpen.size());
        Think();
        return true;
      }
      if (kOpen.starts_with(text)) return false;
      state_ = State::kAnswering;
      return true;
    case State::kThinking: {
      const size_t end = pending_.find(kClose);
      const bool ends = end != std::string::npos;
      const size_t known = ends ? end : pending_.size() - Overlap(pending_, kClose);
      if (!style_.hide_thinking) out_(std::string_view(pending_).substr(0, known));
      pending_.erase(0, known + (ends ? kClose.size() : 0));
      if (ends) EndThinking();
      return ends;
    }
    case State::kAfterThinking:
      pending_.erase(0, begin);
      if (pending_.empty()) return false;
      state_ = State::kAnswering;
      return true;
    case State::kAnswering:
      Show(pending_);
      pending_.clear();
      return false;
  }
  return false;
}

void AnswerView::Think() {
  state_ = State::kThinking;
  if (!style_.colours) return;
  out_(kDim);
  if (style_.hide_thinking) out_("(thinking ...)");
}

void AnswerView::EndThinking() {
  state_ = State::kAfterThinking;
  if (!style_.colours) return;
  out_(kPlain);
  out_(style_.hide_thinking ? "\n" : "\n\n");
}

void AnswerView::Show(std::string_view text) {
  out_(style_.colours ? markdown_.Paint(text) : std::string(text));
}

void AnswerView::Finish() {
  if (state_ == State::kThinking) {
    if (!style_.hide_thinking) out_(pending_);
    if (style_.colours) out_(kPlain);
  } else if (!pending_.empty() && state_ != State::kAfterThinking) {
    Show(pending_);
  }
  pending_.clear();
  if (style_.colours) out_(markdown_.Finish());
}

}  // namespace kvasir::cli
