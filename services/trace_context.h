#ifndef KVASIR_SERVICES_TRACE_CONTEXT_H_
#define KVASIR_SERVICES_TRACE_CONTEXT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kvasir {

// A span's place in a distributed trace, as the header `traceparent` has it:
// https://www.w3.org/TR/trace-context/
struct TraceContext {
  uint64_t trace_high = 0, trace_low = 0;  // not both 0
  uint64_t span = 0;                       // not 0
  uint64_t parent = 0;                     // the span that it is part of; 0: none, or not told
  bool sampled = false;                    // whoever records spans records this one

  std::string trace_id() const;
  std::string span_id() const { return IdOf(span); }
  std::string traceparent() const;
  // A span within this one.
  TraceContext Child() const;

  static std::string IdOf(uint64_t span);
};

// Nothing where it is not well-formed: then the header is as good as absent.
std::optional<TraceContext> ParseTraceparent(std::string_view header);

TraceContext NewTrace(bool sampled);

}  // namespace kvasir

#endif  // KVASIR_SERVICES_TRACE_CONTEXT_H_
