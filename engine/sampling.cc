#include "engine/sampling.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/error.h"

namespace kvasir {
namespace {

// One numeric field: its name and the closed or half-open range it must lie in.
struct Range {
  const char* name;
  std::optional<float> value;
  float low, high;
  bool low_open;
};

template <typename T>
std::optional<T> First(const std::optional<T>& high, const std::optional<T>& low) {
  return high ? high : low;
}

}  // namespace

absl::Status ValidateSampling(const SamplingOverrides& o, int vocab_size) {
  const Range ranges[] = {
      {"temperature", o.temperature, 0, 100, false},
      {"top_p", o.top_p, 0, 1, true},
      {"min_p", o.min_p, 0, 1, false},
      {"repetition_penalty", o.repetition_penalty, 0, 100, true},
      {"frequency_penalty", o.frequency_penalty, -100, 100, false},
      {"presence_penalty", o.presence_penalty, -100, 100, false},
  };
  for (const Range& r : ranges) {
    if (!r.value) continue;
    const float v = *r.value;
    if (std::isfinite(v) && v <= r.high && (r.low_open ? v > r.low : v >= r.low)) continue;
    const std::string field = absl::StrCat("sampling.", r.name);
    return MakeError(Reason::kInvalidField,
                     absl::StrCat(field, ": ", v, " is not ", r.low_open ? "over " : "within ",
                                  r.low, " to ", r.high),
                     {{"field", field}});
  }
  for (const auto& [id, bias] : o.logit_bias) {
    if (id < 0 || id >= vocab_size) {
      return MakeError(Reason::kInvalidField,
                       absl::StrCat("sampling.logit_bias: id ", static_cast<uint32_t>(id),
                                    " is not below vocab_size ", vocab_size),
                       {{"field", "sampling.logit_bias"}});
    }
    if (!std::isfinite(bias) || bias < -100 || bias > 100) {
      return MakeError(
          Reason::kInvalidField,
          absl::StrCat("sampling.logit_bias[", id, "]: ", bias, " is not within -100 to 100"),
          {{"field", "sampling.logit_bias"}});
    }
  }
  return absl::OkStatus();
}

SamplingOverrides Merge(const SamplingOverrides& high, const SamplingOverrides& low) {
  return {.temperature = First(high.temperature, low.temperature),
          .top_k = First(high.top_k, low.top_k),
          .top_p = First(high.top_p, low.top_p),
          .min_p = First(high.min_p, low.min_p),
          .repetition_penalty = First(high.repetition_penalty, low.repetition_penalty),
          .frequency_penalty = First(high.frequency_penalty, low.frequency_penalty),
          .presence_penalty = First(high.presence_penalty, low.presence_penalty),
          .seed = First(high.seed, low.seed),
          .logit_bias = high.logit_bias.empty() ? low.logit_bias : high.logit_bias};
}

SamplingParams Resolve(const SamplingOverrides& o) {
  const SamplingParams d;
  return {.temperature = o.temperature.value_or(d.temperature),
          .top_k = o.top_k.value_or(d.top_k),
          .top_p = o.top_p.value_or(d.top_p),
          .min_p = o.min_p.value_or(d.min_p),
          .repetition_penalty = o.repetition_penalty.value_or(d.repetition_penalty),
          .frequency_penalty = o.frequency_penalty.value_or(d.frequency_penalty),
          .presence_penalty = o.presence_penalty.value_or(d.presence_penalty),
          .seed = o.seed.value_or(d.seed),
          .logit_bias = o.logit_bias};
}

}  // namespace kvasir
