#include "tests/engine/journal/random_sessions.h"

#include <optional>

#include "absl/time/time.h"

namespace kvasir::testing {
namespace {

uint64_t Below(uint64_t end, std::mt19937_64& random) { return random() % end; }

std::string RandomString(size_t longest, std::mt19937_64& random) {
  std::string text(Below(longest + 1, random), ' ');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

absl::Duration RandomDuration(std::mt19937_64& random) {
  return absl::Seconds(Below(2'000'000'000, random)) + absl::Nanoseconds(Below(1e9, random));
}

template <typename T>
std::optional<T> Maybe(T value, std::mt19937_64& random) {
  return Below(2, random) == 0 ? std::nullopt : std::optional<T>(value);
}

std::optional<float> MaybeFloat(std::mt19937_64& random) {
  return Maybe(static_cast<float>(Below(1000, random)) / 500.0f - 1.0f, random);
}

SamplingOverrides RandomSampling(std::mt19937_64& random) {
  SamplingOverrides sampling;
  sampling.temperature = MaybeFloat(random);
  sampling.top_k = Maybe(static_cast<uint32_t>(random()), random);
  sampling.top_p = MaybeFloat(random);
  sampling.min_p = MaybeFloat(random);
  sampling.repetition_penalty = MaybeFloat(random);
  sampling.frequency_penalty = MaybeFloat(random);
  sampling.presence_penalty = MaybeFloat(random);
  sampling.seed = Maybe<uint64_t>(random(), random);
  for (uint64_t i = Below(4, random); i > 0; --i) {
    sampling.logit_bias.emplace_back(static_cast<int>(Below(151936, random)), -1.5f);
  }
  return sampling;
}

bool Equal(const SamplingOverrides& a, const SamplingOverrides& b) {
  return a.temperature == b.temperature && a.top_k == b.top_k && a.top_p == b.top_p &&
         a.min_p == b.min_p && a.repetition_penalty == b.repetition_penalty &&
         a.frequency_penalty == b.frequency_penalty && a.presence_penalty == b.presence_penalty &&
         a.seed == b.seed && a.logit_bias == b.logit_bias;
}

}  // namespace

SessionRecord RandomRecord(const std::string& id, std::mt19937_64& random) {
  SessionRecord record;
  SessionMetadata& session = record.metadata;
  session.id = id;
  session.tenant = RandomString(8, random);
  session.create_time = absl::UnixEpoch() + RandomDuration(random);
  session.last_use_time = session.create_time + RandomDuration(random);
  session.ttl = Maybe(RandomDuration(random), random);
  session.parent_id = RandomString(8, random);
  for (uint64_t i = Below(4, random); i > 0; --i) {
    session.labels[RandomString(3, random)] = RandomString(20, random);
  }
  session.sampling = RandomSampling(random);
  session.last_request_id = RandomString(40, random);
  session.last_base_length = random() >> Below(64, random);
  session.last_finish_reason = static_cast<FinishReason>(
      Below(static_cast<uint64_t>(FinishReason::kInterrupted) + 1, random));
  record.fingerprint = RandomString(70, random);
  record.numerics = RandomString(30, random);
  record.length = random() >> Below(64, random);
  record.version = random() >> Below(64, random);
  return record;
}

std::vector<int> RandomTokens(size_t count, std::mt19937_64& random) {
  std::vector<int> tokens(count);
  for (int& token : tokens) token = static_cast<int>(Below(151936, random));
  return tokens;
}

std::string Difference(const SessionRecord& a, const SessionRecord& b) {
  const SessionMetadata& x = a.metadata;
  const SessionMetadata& y = b.metadata;
  if (x.id != y.id) return "id";
  if (x.tenant != y.tenant) return "tenant";
  if (x.create_time != y.create_time) return "create_time";
  if (x.last_use_time != y.last_use_time) return "last_use_time";
  if (x.ttl != y.ttl) return "ttl";
  if (x.parent_id != y.parent_id) return "parent_id";
  if (x.labels != y.labels) return "labels";
  if (!Equal(x.sampling, y.sampling)) return "sampling";
  if (x.last_request_id != y.last_request_id) return "last_request_id";
  if (x.last_base_length != y.last_base_length) return "last_base_length";
  if (x.last_finish_reason != y.last_finish_reason) return "last_finish_reason";
  if (a.fingerprint != b.fingerprint) return "fingerprint";
  if (a.numerics != b.numerics) return "numerics";
  if (a.length != b.length) return "length";
  if (a.version != b.version) return "version";
  return "";
}

}  // namespace kvasir::testing
