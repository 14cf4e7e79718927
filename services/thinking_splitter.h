#ifndef KVASIR_SERVICES_THINKING_SPLITTER_H_
#define KVASIR_SERVICES_THINKING_SPLITTER_H_

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace kvasir {

// How much of the end of `text` may be the start of `word`, and is not the whole of it.
size_t UnfinishedWord(std::string_view text, std::string_view word);

// Tells what a model thinks before its answer (<think>...</think>) from the answer, as the text
// comes. What it tells does not depend on how the text was cut.
class ThinkingSplitter {
 public:
  enum class Part {
    kThinkingBegins,  // `text` is empty
    kThought,
    kThinkingEnds,  // `text` is empty
    kAnswer,
  };
  using Sink = std::function<void(Part part, std::string_view text)>;

  explicit ThinkingSplitter(Sink sink) : sink_(std::move(sink)) {}

  // Before the first Write: the text begins within thought, its <think> not part of it.
  void BeginThinking();
  void Write(std::string_view piece);
  // Tells what was held back.
  void Finish();
  bool thinking() const { return state_ == State::kThinking; }

 private:
  enum class State { kBeginning, kThinking, kAfterThinking, kAnswering };

  // Takes from pending_ what can be told; false where more must come first.
  bool Step();

  const Sink sink_;
  State state_ = State::kBeginning;
  std::string pending_;
};

}  // namespace kvasir

#endif  // KVASIR_SERVICES_THINKING_SPLITTER_H_
