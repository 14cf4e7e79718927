#ifndef KVASIR_TESTS_ENGINE_SCHEDULE_WORLD_H_
#define KVASIR_TESTS_ENGINE_SCHEDULE_WORLD_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/batch.h"
#include "engine/schedule/scheduler.h"

namespace kvasir::testing {

class SwitchedSink : public GenerateSink {
 public:
  bool HasRoom() const override { return room; }
  void OnStarted(const GenerateStarted&) override {}
  void OnTokens(std::span<const int>, std::span<const TokenLogprob>,
                std::span<const TokenLogprob>) override {}
  void OnComplete(const GenerateComplete&) override {}
  void OnError(const absl::Status&) override {}
  bool room = true;
};

// A scheduler, its cache and its sessions, with a model of one line in place of Qwen3: every slot
// of the cache gets a number that stands for all tokens up to there, and the next token is a
// function of that number. Time is virtual. Each step is checked: whoever reads, reads what belongs
// to its own tokens and tenant; nobody writes what another one uses; limits hold.
class World {
 public:
  World(int blocks, SchedulerLimits limits, bool share_prefixes = true, int host_blocks = 0);

  Session& AddSession(const std::string& id, int tokens, const std::string& tenant = "");
  Session& Fork(const Session& source, const std::string& id);
  void Cut(Session& session, size_t length);
  // `input`: tokens, all the same one.
  Call& Start(Session& session, int input, uint32_t max_new, int token = 2,
              bool prompt_logprobs = false);
  // A call without a session.
  Call& StartOneShot(int input, uint32_t max_new, const std::string& tenant = "", int token = 2);
  SwitchedSink& SinkOf(Call& call) { return static_cast<SwitchedSink&>(*call.sink); }
  // As the engine does when the call is over or cancelled: what is not committed goes.
  void End(Call& call);
  // False: nobody can run.
  bool Step();
  int RowsOf(const Call& call) const;
  // The answer that a session or call with these tokens gets, whatever happens around it.
  static std::vector<int> Continuation(std::vector<int> tokens, const std::string& tenant,
                                       size_t count);

  const SchedulerLimits limits;
  KvCache cache;
  SessionTable table;
  Scheduler scheduler;
  StepPlan plan;
  std::map<uint64_t, std::unique_ptr<Call>> calls;
  std::vector<uint64_t> admitted;  // for the first time, in order
  std::vector<uint64_t> finished;
  double now = 0;  // seconds
  uint64_t computed_rows = 0;
  int most_logits = 0;  // rows of one step

 private:
  Call& Begin(std::unique_ptr<Call> call, int input, uint32_t max_new, int token,
              bool prompt_logprobs);
  void CheckPlan();
  void CheckShares() const;
  // Rows of the entry with logits that its call owes to whoever asked for its input's.
  static int PromptLogits(const StepEntry& entry);
  void Compute(const StepEntry& entry);

  void Copy(const BlockCopy& copy);

  using Block = std::array<uint64_t, kBlockTokens>;
  std::vector<Block> memory_;  // by block
  std::vector<Block> host_;
  uint64_t next_id_ = 1;
};

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_ENGINE_SCHEDULE_WORLD_H_
