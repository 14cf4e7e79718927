#include "services/trace_context.h"

#include <random>

#include "absl/strings/str_cat.h"

namespace kvasir {
namespace {

constexpr size_t kLength = 55;  // "00-<32>-<16>-<2>"

// Not 0. A name, not a secret.
uint64_t RandomId() {
  thread_local std::mt19937_64 random = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  uint64_t id = 0;
  while (id == 0) id = random();
  return id;
}

// Lower-case hexadecimal digits, at most 16 of them.
std::optional<uint64_t> ParseHex(std::string_view digits) {
  uint64_t value = 0;
  for (const char c : digits) {
    const bool decimal = c >= '0' && c <= '9';
    if (!decimal && (c < 'a' || c > 'f')) return std::nullopt;
    value = value << 4 | static_cast<uint64_t>(decimal ? c - '0' : c - 'a' + 10);
  }
  return value;
}

}  // namespace

std::string TraceContext::IdOf(uint64_t span) {
  return absl::StrCat(absl::Hex(span, absl::kZeroPad16));
}

std::string TraceContext::trace_id() const {
  return absl::StrCat(absl::Hex(trace_high, absl::kZeroPad16),
                      absl::Hex(trace_low, absl::kZeroPad16));
}

std::string TraceContext::traceparent() const {
  return absl::StrCat("00-", trace_id(), "-", span_id(), sampled ? "-01" : "-00");
}

TraceContext TraceContext::Child() const {
  TraceContext child = *this;
  child.parent = span;
  child.span = RandomId();
  return child;
}

TraceContext NewTrace(bool sampled) {
  return {
      .trace_high = RandomId(), .trace_low = RandomId(), .span = RandomId(), .sampled = sampled};
}

std::optional<TraceContext> ParseTraceparent(std::string_view header) {
  if (header.size() < kLength) return std::nullopt;
  for (const size_t dash : {2, 35, 52}) {
    if (header[dash] != '-') return std::nullopt;
  }
  const auto version = ParseHex(header.substr(0, 2));
  if (!version || *version == 0xff) return std::nullopt;
  // Later versions may have more behind another dash.
  if (header.size() > kLength && (*version == 0 || header[kLength] != '-')) return std::nullopt;
  const auto high = ParseHex(header.substr(3, 16)), low = ParseHex(header.substr(19, 16));
  const auto span = ParseHex(header.substr(36, 16)), flags = ParseHex(header.substr(53, 2));
  if (!high || !low || !span || !flags) return std::nullopt;
  if ((*high == 0 && *low == 0) || *span == 0) return std::nullopt;
  return TraceContext{
      .trace_high = *high, .trace_low = *low, .span = *span, .sampled = (*flags & 1) != 0};
}

}  // namespace kvasir
