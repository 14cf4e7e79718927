#ifndef KVASIR_SERVICES_GATEWAY_ANSWER_H_
#define KVASIR_SERVICES_GATEWAY_ANSWER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/gateway/answer_json.h"
#include "services/gateway/answer_reader.h"
#include "services/gateway/http_server.h"
#include "services/gateway/turn.h"

namespace kvasir::gateway {

// One request's answer: what the model makes of its prompts, read and written.
class Answer {
 public:
  struct Prompt {
    TokenIds ids;
    bool begins_thinking = false;
  };
  struct Options {
    AnswerOptions asked;
    bool chat = true;  // else a completion
    bool parses_tool_calls = false;
  };

  Answer(KvasirServices& services, SessionKeeper& keeper, const Caller& caller,
         std::shared_ptr<const KvasirServices::Facts> facts, Options options,
         std::function<bool()> gone);

  // Returns once the model has taken the prompts on.
  absl::Status Start(const std::vector<Prompt>& prompts);
  // The whole answer, in JSON.
  absl::StatusOr<std::string> Whole();
  // The next piece of the answer as server-sent events; false: it has ended.
  bool NextEvents(std::string& piece);

 private:
  struct Delta {
    uint32_t index = 0;  // of the choice in the answer
    AnswerDelta delta;
  };

  // False: all choices have ended. What broke one off breaks the answer off.
  absl::StatusOr<bool> Next(Delta& delta);
  AnswerUsage Usage() const;

  const std::shared_ptr<const KvasirServices::Facts> facts_;
  const Options options_;
  AnswerWriter writer_;
  uint64_t prompt_tokens_ = 0;
  std::vector<std::unique_ptr<AnswerReader>> readers_;  // of each choice
  std::vector<bool> begun_;                             // whether a stream has told of it
  bool ended_ = false;                                  // the stream
  Turn turn_;
};

}  // namespace kvasir::gateway

#endif  // KVASIR_SERVICES_GATEWAY_ANSWER_H_
