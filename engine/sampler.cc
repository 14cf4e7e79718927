#include "engine/sampler.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

namespace kvasir {
namespace {

using Candidate = std::pair<float, int>;  // (logit, id)

// The one order of everything that sums or draws.
bool MoreProbable(const Candidate& a, const Candidate& b) {
  return a.first != b.first ? a.first > b.first : a.second < b.second;
}

// Natural logarithm of the sum of exp(logits).
double LogSumExp(std::span<const float> logits) {
  const float max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit - max);
  return max + std::log(sum);
}

// The n most probable of the raw distribution, most probable first.
void TopAlternatives(std::span<const float> logits, double log_sum, int n, SamplerScratch& scratch,
                     std::vector<TokenAlternative>& out) {
  std::vector<Candidate>& heap = scratch.candidates;  // its front is the least probable kept
  heap.clear();
  for (int id = 0; n > 0 && id < static_cast<int>(logits.size()); ++id) {
    const Candidate candidate(logits[id], id);
    if (static_cast<int>(heap.size()) == n) {
      if (!MoreProbable(candidate, heap.front())) continue;
      std::pop_heap(heap.begin(), heap.end(), MoreProbable);
      heap.pop_back();
    }
    heap.push_back(candidate);
    std::push_heap(heap.begin(), heap.end(), MoreProbable);
  }
  std::sort_heap(heap.begin(), heap.end(), MoreProbable);
  for (const auto& [logit, id] : heap) {
    out.push_back({id, static_cast<float>(logit - log_sum)});
  }
}

// Keskar et al. 2019 (repetition) and the OpenAI API (frequency, presence).
void ApplyPenalties(std::span<float> logits, const SamplingParams& params,
                    std::span<const int> history, std::vector<int>& counts) {
  counts.resize(std::max(counts.size(), logits.size()), 0);
  for (int id : history) ++counts[id];
  for (int id : history) {
    if (counts[id] == 0) continue;  // done already
    float& logit = logits[id];
    logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    logit -= params.frequency_penalty * static_cast<float>(counts[id]);
    logit -= params.presence_penalty;
    counts[id] = 0;
  }
}

// The most probable id, ties to the lowest; -1 where no logit is finite.
int ArgMax(std::span<const float> logits) {
  int best = -1;
  float best_logit = -std::numeric_limits<float>::infinity();
  for (int id = 0; id < static_cast<int>(logits.size()); ++id) {
    if (logits[id] > best_logit) {
      best = id;
      best_logit = logits[id];
    }
  }
  return best;
}

// From so many candidates on a radix sort takes over.
constexpr size_t kRadixCandidates = 4096;
constexpr int kDigitBits = 11;

// A number that is the smaller, the more probable the logit. REQUIRES: not NaN.
uint32_t OrderOf(float logit) {
  const uint32_t bits = std::bit_cast<uint32_t>(logit + 0.0f);  // -0 is 0
  return (bits >> 31) != 0 ? bits : ~(bits | 0x80000000u);
}

// Sorts by MoreProbable. REQUIRES: ids ascend.
void SortCandidates(std::vector<Candidate>& candidates, std::vector<Candidate>& scratch) {
  if (candidates.size() < kRadixCandidates) {
    std::sort(candidates.begin(), candidates.end(), MoreProbable);
    return;
  }
  scratch.resize(candidates.size());
  // Stable passes from the lowest digit up: equal logits stay in the order of their ids.
  for (int shift = 0; shift < 32; shift += kDigitBits) {
    std::array<uint32_t, 1 << kDigitBits> place = {};
    const auto digit = [&](const Candidate& candidate) {
      return (OrderOf(candidate.first) >> shift) & ((1 << kDigitBits) - 1);
    };
    for (const Candidate& candidate : candidates) ++place[digit(candidate)];
    uint32_t before = 0;
    for (uint32_t& count : place) before += std::exchange(count, before);
    for (const Candidate& candidate : candidates) scratch[place[digit(candidate)]++] = candidate;
    candidates.swap(scratch);
  }
}

// Candidates in order, those below the k-th dropped; ties with the k-th stay. Looks at each logit
// once: almost all of a large vocabulary fall below the k-th best so far.
void SelectTopK(std::span<const float> logits, uint32_t top_k, SamplerScratch& scratch) {
  std::vector<Candidate>& kept = scratch.candidates;
  kept.clear();
  const size_t k = top_k > 0 ? std::min<size_t>(top_k, logits.size()) : logits.size();
  float threshold = -std::numeric_limits<float>::infinity();
  size_t room = 2 * k + 64;  // thinned out when full
  const auto thin_out = [&] {
    std::nth_element(kept.begin(), kept.begin() + static_cast<ptrdiff_t>(k - 1), kept.end(),
                     MoreProbable);
    threshold = kept[k - 1].first;
    std::erase_if(kept, [&](const Candidate& c) { return c.first < threshold; });
    room = std::max(room, 2 * kept.size());  // they may all be ties
  };
  for (int id = 0; id < static_cast<int>(logits.size()); ++id) {
    if (!(logits[id] >= threshold)) continue;  // nor NaN
    kept.emplace_back(logits[id], id);
    if (kept.size() == room) thin_out();
  }
  if (kept.size() > k) thin_out();
  if (k == logits.size()) {
    SortCandidates(kept, scratch.sorted);
  } else {
    std::sort(kept.begin(), kept.end(), MoreProbable);
  }
}

// How many of `kept` pass top_p: those with less than p of the mass strictly above them, so that
// ties stand or fall together. mass[i] is unnormalised.
size_t CountTopP(const std::vector<Candidate>& kept, const std::vector<double>& mass, float top_p) {
  if (top_p >= 1) return kept.size();
  double total = 0;
  for (double m : mass) total += m;
  double above = 0;   // mass strictly above the group of ties that begins at group_start
  double so_far = 0;  // mass before i
  for (size_t i = 0; i < kept.size(); ++i) {
    if (i == 0 || kept[i].first != kept[i - 1].first) above = so_far;
    if (i > 0 && above >= top_p * total) return i;
    so_far += mass[i];
  }
  return kept.size();
}

// An id, or -1 where no logit is finite.
int Draw(std::span<const float> logits, const SamplingParams& params, uint64_t position,
         SamplerScratch& scratch) {
  std::vector<Candidate>& kept = scratch.candidates;
  std::vector<double>& mass = scratch.mass;
  SelectTopK(logits, params.top_k, scratch);
  if (kept.empty() || !std::isfinite(kept.front().first)) return -1;
  const double best = kept.front().first;
  mass.clear();
  for (const auto& [logit, id] : kept) {
    mass.push_back(std::exp((logit - best) / params.temperature));
  }
  size_t count = CountTopP(kept, mass, params.top_p);
  while (count > 1 && mass[count - 1] < params.min_p * mass[0]) --count;

  double total = 0;
  for (size_t i = 0; i < count; ++i) total += mass[i];
  const double threshold = UniformAt(params.seed, position) * total;
  double so_far = 0;
  for (size_t i = 0; i < count; ++i) {
    so_far += mass[i];
    if (threshold < so_far) return kept[i].second;
  }
  return kept[count - 1].second;
}

}  // namespace

double UniformAt(uint64_t seed, uint64_t position) {
  std::array<uint32_t, 4> c = {static_cast<uint32_t>(position),
                               static_cast<uint32_t>(position >> 32), 0, 0};
  uint32_t k0 = static_cast<uint32_t>(seed);
  uint32_t k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * c[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<uint32_t>(b >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(a)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  const uint64_t bits = (uint64_t{c[1]} << 32 | c[0]) >> 11;  // 53 of them
  return static_cast<double>(bits) * 0x1.0p-53;
}

void SampleRow(std::span<float> logits, const SamplingRow& row, SamplerScratch& scratch,
               SampledToken& out) {
  out.alternatives.clear();
  out.logprob = 0;
  const bool wants_logprob = row.top_logprobs >= 0 || row.target >= 0;
  const double log_sum = wants_logprob ? LogSumExp(logits) : 0;
  if (row.target >= 0) {
    out.id = row.target;
    out.logprob = static_cast<float>(logits[row.target] - log_sum);
    return;
  }
  TopAlternatives(logits, log_sum, row.top_logprobs, scratch, out.alternatives);

  const SamplingParams& params = *row.params;
  std::vector<float>& raw = scratch.raw;  // the chain overwrites the logits
  if (wants_logprob) raw.assign(logits.begin(), logits.end());
  for (const auto& [id, bias] : params.logit_bias) logits[id] += bias;
  if (params.has_penalties()) ApplyPenalties(logits, params, row.history, scratch.counts);

  out.id = params.temperature > 0 ? Draw(logits, params, row.position, scratch) : ArgMax(logits);
  if (wants_logprob && out.id >= 0) out.logprob = static_cast<float>(raw[out.id] - log_sum);
}

}  // namespace kvasir
