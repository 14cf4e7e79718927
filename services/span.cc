#include "services/span.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "engine/error.h"

namespace kvasir {
namespace {

// gRPC's conventions: what the server is to blame for.
bool IsServerError(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDataLoss:
      return true;
    default:
      return false;
  }
}

int64_t Count(uint64_t value) { return static_cast<int64_t>(value); }

void AddGenerate(const RequestRecord& record, const std::string& model, Span& span) {
  auto& attributes = span.attributes;
  attributes.emplace_back("gen_ai.operation.name", "text_completion");
  attributes.emplace_back("gen_ai.provider.name", "kvasir");
  attributes.emplace_back("gen_ai.request.model", model);
  if (!record.session_id.empty()) {
    attributes.emplace_back("gen_ai.conversation.id", record.session_id);
  }
  if (!record.generate) return;
  const GenerateReport& report = *record.generate;
  attributes.emplace_back("gen_ai.usage.input_tokens", Count(report.input_tokens));
  attributes.emplace_back("gen_ai.usage.output_tokens", Count(report.generated_tokens));
  attributes.emplace_back("kvasir.cached_tokens", Count(report.cached_tokens));
  attributes.emplace_back("kvasir.computed_tokens", Count(report.computed_tokens));
  if (report.finish_reason) {
    attributes.emplace_back("gen_ai.response.finish_reasons",
                            std::vector<std::string>{std::string(NameOf(*report.finish_reason))});
  }
}

// The phases that the call came to, each until the next one began.
void AddPhases(const GenerateReport& report, const TraceContext& parent, std::vector<Span>& spans) {
  const auto phase = [&](const char* name, absl::Time start, absl::Time end) {
    if (start == absl::InfinitePast()) return;
    // What was broken off ended with the call.
    if (end == absl::InfinitePast()) end = report.generated;
    spans.push_back({.name = name, .context = parent.Child(), .start = start, .end = end});
  };
  phase("queue", report.arrived, report.admitted);
  phase("prefill", report.admitted, report.first_token);
  phase("decode", report.first_token, report.generated);
  if (report.settled > report.generated) phase("journal", report.generated, report.settled);
}

}  // namespace

std::vector<Span> SpansOf(const RequestRecord& record, std::string_view service,
                          const std::string& model) {
  const RequestContext& context = record.context;
  const absl::StatusCode code = record.status.code();
  std::vector<Span> spans(1);
  Span& span = spans.front();
  span.name = absl::StrCat(std::string(service), "/", std::string(context.method));
  span.kind = Span::Kind::kServer;
  span.context = context.trace;
  span.start = context.arrived;
  span.end = context.arrived + record.took;
  span.failed = IsServerError(code);
  span.attributes = {{"rpc.system", "grpc"},
                     {"rpc.service", std::string(service)},
                     {"rpc.method", std::string(context.method)},
                     {"rpc.grpc.status_code", Count(static_cast<uint64_t>(code))},
                     {"kvasir.peer", context.peer},
                     {"kvasir.tenant", std::string(TenantOf(context))}};
  if (code != absl::StatusCode::kOk) {
    span.attributes.emplace_back("error.type", absl::StatusCodeToString(code));
    const std::string reason = DetailOf(record.status).reason;
    if (!reason.empty()) span.attributes.emplace_back("kvasir.error.reason", reason);
  }
  if (!record.request_id.empty()) {
    span.attributes.emplace_back("kvasir.request_id", record.request_id);
  }
  if (context.method == "Generate") AddGenerate(record, model, span);
  if (record.generate) AddPhases(*record.generate, context.trace, spans);
  return spans;
}

}  // namespace kvasir
