#ifndef KVASIR_SERVICES_GATEWAY_ANSWER_JSON_H_
#define KVASIR_SERVICES_GATEWAY_ANSWER_JSON_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "services/gateway/answer_reader.h"

namespace kvasir::gateway {

struct AnswerUsage {
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;  // of them
  uint64_t completion_tokens = 0;
  uint64_t thought_tokens = 0;  // of them
};

// Writes answers as the OpenAI API has them: of one request, whole or in chunks.
class AnswerWriter {
 public:
  struct Head {
    std::string id;
    int64_t created = 0;  // seconds since 1970
    std::string model;
    std::string fingerprint;
    std::string session_id;  // told where it is not empty
    bool chat = true;        // else a completion
    bool scores = false;     // log-probabilities were asked for
    bool include_usage = false;
  };

  // REQUIRES: `table` outlives this.
  AnswerWriter(const TokenTable& table, Head head) : table_(table), head_(std::move(head)) {}

  // A chunk: a JSON object. `first`: of this choice.
  std::string Chunk(uint32_t index, const AnswerDelta& delta, bool first);
  // The chunk at the end that holds no choice.
  std::string UsageChunk(const AnswerUsage& usage) const;
  // A whole answer: what all deltas of each choice, joined, make.
  std::string Whole(const std::vector<AnswerDelta>& choices, const AnswerUsage& usage) const;

 private:
  const TokenTable& table_;
  const Head head_;
  std::vector<int> calls_;  // tool calls told of each choice
};

}  // namespace kvasir::gateway

#endif  // KVASIR_SERVICES_GATEWAY_ANSWER_JSON_H_
