#ifndef KVASIR_SERVICES_SPAN_H_
#define KVASIR_SERVICES_SPAN_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "services/request_record.h"
#include "services/trace_context.h"

namespace kvasir {

// A span of a trace, as OpenTelemetry has it.
struct Span {
  enum class Kind { kInternal = 1, kServer = 2 };  // OTLP's numbers
  using Value = std::variant<std::string, int64_t, std::vector<std::string>>;

  std::string name;
  Kind kind = Kind::kInternal;
  TraceContext context;
  absl::Time start, end;
  std::vector<std::pair<std::string_view, Value>> attributes;
  bool failed = false;
};

// The RPC's own span, then those within it: queue, prefill, decode, journal, as far as it came to
// them. `service`: "kvasir.v1.ModelService". `model`: may be empty.
std::vector<Span> SpansOf(const RequestRecord& record, std::string_view service,
                          const std::string& model);

// Spans as the body of an OTLP/HTTP request: ExportTraceServiceRequest in OTLP's JSON.
// `resource`: who has made them.
std::string EncodeOtlp(const std::vector<Span>& spans,
                       const std::vector<std::pair<std::string_view, std::string>>& resource);

}  // namespace kvasir

#endif  // KVASIR_SERVICES_SPAN_H_
