#include "tests/engine/schedule/world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>

namespace kvasir::testing {
namespace {

// Stands for a prefix that is one token longer (the finalizer of splitmix64).
uint64_t After(uint64_t prefix, int token) {
  uint64_t x = prefix + 0x9E3779B97F4A7C15 * (static_cast<uint64_t>(token) + 1);
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

uint64_t Root(const std::string& tenant) { return std::hash<std::string>()(tenant); }

// Few different ones, so that conversations meet again.
int NextToken(uint64_t prefix) { return static_cast<int>(prefix % 3); }

constexpr double kStepSeconds = 0.02;
constexpr double kRowSeconds = 0.001;

}  // namespace

World::World(int blocks, SchedulerLimits limits, bool share_prefixes, int host_blocks)
    : limits(limits),
      cache(blocks, share_prefixes ? std::optional<uint64_t>(17) : std::nullopt, host_blocks),
      table(cache),
      scheduler(cache, table, limits),
      memory_(blocks),
      host_(host_blocks) {}

Session& World::AddSession(const std::string& id, int tokens, const std::string& tenant) {
  auto session = std::make_unique<Session>();
  session->id = id;
  session->tenant = tenant;
  session->tokens.assign(tokens, 1);
  session->committed = tokens;
  return table.Insert(std::move(session));
}

Session& World::Fork(const Session& source, const std::string& id) {
  Session& fork = AddSession(id, 0, source.tenant);
  fork.tokens.assign(source.tokens.begin(),
                     source.tokens.begin() + static_cast<ptrdiff_t>(source.committed));
  fork.committed = source.committed;
  cache.Share(source, fork.committed, fork);
  return fork;
}

void World::Cut(Session& session, size_t length) {
  session.tokens.resize(length);
  session.committed = length;
  cache.Truncate(session, length);
}

Call& World::Start(Session& session, int input, uint32_t max_new, int token, bool prompt_logprobs) {
  auto call = std::make_unique<Call>();
  call->session = &session;
  return Begin(std::move(call), input, max_new, token, prompt_logprobs);
}

Call& World::StartOneShot(int input, uint32_t max_new, const std::string& tenant, int token) {
  auto call = std::make_unique<Call>();
  call->one_shot = std::make_unique<Session>();
  call->one_shot->tenant = tenant;
  call->session = call->one_shot.get();
  return Begin(std::move(call), input, max_new, token, /*prompt_logprobs=*/false);
}

Call& World::Begin(std::unique_ptr<Call> owned, int input, uint32_t max_new, int token,
                   bool prompt_logprobs) {
  Call& call = *owned;
  Session& session = *call.session;
  call.id = next_id_++;
  call.sink = std::make_shared<SwitchedSink>();
  call.base_length = session.committed;
  call.max_new_tokens = max_new;
  call.next_prompt_logprob = call.base_length + (prompt_logprobs ? 0 : input);
  call.request.input_ids.assign(input, token);
  session.tokens.insert(session.tokens.end(), input, token);
  session.busy = true;
  cache.Truncate(session, call.adoptable());
  scheduler.Add(call);
  calls[call.id] = std::move(owned);
  return call;
}

void World::End(Call& call) {
  Session& session = *call.session;
  session.tokens.resize(session.committed);
  cache.Truncate(session, session.committed);
  scheduler.Remove(call);
  session.busy = false;
  finished.push_back(call.id);
  if (call.one_shot) cache.Truncate(session, 0);
  calls.erase(call.id);
}

bool World::Step() {
  const bool work = scheduler.Plan(plan);
  for (Call* call : plan.admitted) {
    if (!call->started && call->running) {
      call->started = true;
      admitted.push_back(call->id);
      if (call->next_prompt_logprob == 0) call->next_prompt_logprob = 1;  // the first has no past
    }
  }
  if (!work) return false;
  CheckPlan();
  for (const BlockCopy& copy : plan.block_copies) Copy(copy);
  for (const StepEntry& entry : plan.entries) Compute(entry);
  const double seconds = kStepSeconds + kRowSeconds * plan.rows();
  now += seconds;
  computed_rows += plan.rows();
  scheduler.Record(plan, seconds);
  for (const StepEntry& entry : plan.entries) {
    Call& call = *entry.call;
    Session& session = *call.session;
    call.next_prompt_logprob += PromptLogits(entry);
    session.cached = entry.first + entry.count;
    cache.Publish(session);
    if (call.pending() > 0) continue;
    const size_t last = session.cached - 1;
    if (call.wants_token()) {
      session.tokens.push_back(
          NextToken(memory_[session.blocks[last / kBlockTokens]][last % kBlockTokens]));
      ++call.generated;
    }
    session.committed = session.tokens.size();
    if (!call.wants_token()) End(call);
  }
  return true;
}

void World::Copy(const BlockCopy& copy) {
  const auto& from = copy.way == BlockCopy::Way::kFromHost ? host_ : memory_;
  auto& to = copy.way == BlockCopy::Way::kToHost ? host_ : memory_;
  to.at(copy.to) = from.at(copy.from);
}

// Reads the whole context as attention would, then writes the new rows.
void World::Compute(const StepEntry& entry) {
  const Session& session = *entry.call->session;
  uint64_t prefix = Root(session.tenant);
  for (size_t p = 0; p < entry.first + entry.count; ++p) {
    prefix = After(prefix, session.tokens[p]);
    uint64_t& slot = memory_[session.blocks[p / kBlockTokens]][p % kBlockTokens];
    if (p >= entry.first) {
      slot = prefix;
    } else {
      ASSERT_EQ(slot, prefix) << "position " << p << " of " << session.id
                              << " is not what its tokens make of it";
    }
  }
}

int World::PromptLogits(const StepEntry& entry) {
  const Call& call = *entry.call;
  int rows = 0;
  for (size_t next = entry.first + 1; next <= entry.first + entry.count; ++next) {
    rows += next >= call.next_prompt_logprob && next < call.input_end();
  }
  return rows;
}

void World::CheckPlan() {
  int rows = 0;
  int logits = 0;
  std::set<const Call*> seen;
  std::set<int> written;
  for (const StepEntry& entry : plan.entries) {
    const Session& session = *entry.call->session;
    ASSERT_TRUE(seen.insert(entry.call).second);
    ASSERT_TRUE(entry.call->running);
    ASSERT_TRUE(entry.call->sink->HasRoom());
    ASSERT_EQ(entry.first, session.cached);
    ASSERT_GT(entry.count, 0);
    ASSERT_LE(entry.first + entry.count, session.tokens.size());
    ASSERT_EQ(session.blocks.size(), KvCache::BlocksFor(entry.first + entry.count));
    for (size_t block = entry.first / kBlockTokens; block < session.blocks.size(); ++block) {
      ASSERT_EQ(cache.allocator().references(session.blocks[block]), 1)
          << "a shared block would be written";
      ASSERT_TRUE(written.insert(session.blocks[block]).second);
    }
    rows += entry.count;
    logits += PromptLogits(entry) + (entry.first + entry.count == session.tokens.size() ? 1 : 0);
  }
  most_logits = std::max(most_logits, logits);
  ASSERT_LE(rows, limits.max_step_tokens);
  ASSERT_LE(logits, limits.max_logits());
  ASSERT_LE(plan.entries.size(), limits.max_running);
  CheckShares();
}

// Counted from what each session holds.
void World::CheckShares() const {
  if (limits.max_tenant_blocks == 0) return;
  std::map<std::string, std::set<int>> held;
  const auto count = [&](const Session& session) {
    held[session.tenant].insert(session.blocks.begin(), session.blocks.end());
  };
  for (const Session* session : table.List("", "", kMostExamined, {}).sessions) count(*session);
  for (const auto& [id, call] : calls) {
    if (call->one_shot) count(*call->session);
  }
  for (const auto& [tenant, blocks] : held) {
    ASSERT_EQ(cache.held(tenant), blocks.size()) << tenant;
    ASSERT_LE(blocks.size(), limits.max_tenant_blocks) << tenant;
  }
}

int World::RowsOf(const Call& call) const {
  for (const StepEntry& entry : plan.entries) {
    if (entry.call == &call) return entry.count;
  }
  return 0;
}

std::vector<int> World::Continuation(std::vector<int> tokens, const std::string& tenant,
                                     size_t count) {
  uint64_t prefix = Root(tenant);
  for (int token : tokens) prefix = After(prefix, token);
  std::vector<int> answer;
  while (answer.size() < count) {
    answer.push_back(NextToken(prefix));
    prefix = After(prefix, answer.back());
  }
  return answer;
}

}  // namespace kvasir::testing
