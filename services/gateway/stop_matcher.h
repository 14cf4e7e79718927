#ifndef KVASIR_SERVICES_GATEWAY_STOP_MATCHER_H_
#define KVASIR_SERVICES_GATEWAY_STOP_MATCHER_H_

#include <string>
#include <string_view>
#include <vector>

namespace kvasir::gateway {

// Ends a text before the first of some words that comes in it, however the text is cut. Text is
// held back only as long as it may be the start of one of them.
class StopMatcher {
 public:
  // REQUIRES: no word is empty.
  explicit StopMatcher(std::vector<std::string> words) : words_(std::move(words)) {}

  // The text that is known now, and was not before, to come before any stop. Nothing after a stop.
  std::string Push(std::string_view piece);
  // What was held back: no word became of it.
  std::string Finish();

  // A word came. Where several end at the same place, it is the longest.
  bool stopped() const { return stopped_; }

 private:
  const std::vector<std::string> words_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace kvasir::gateway

#endif  // KVASIR_SERVICES_GATEWAY_STOP_MATCHER_H_
