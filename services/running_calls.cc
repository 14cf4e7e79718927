#include "services/running_calls.h"

#include <iterator>
#include <utility>
#include <vector>

#include "engine/check.h"
#include "engine/error.h"

namespace kvasir {
namespace {

constexpr char kTraceparent[] = "traceparent";
constexpr char kAuthorization[] = "authorization";

// The RPC's own span: in the caller's trace, or the beginning of one.
TraceContext OwnSpan(const grpc::CallbackServerContext& context, bool records) {
  const auto [header, end] = context.client_metadata().equal_range(kTraceparent);
  if (header != end && std::next(header) == end) {  // of several none is to be believed
    const auto caller = ParseTraceparent({header->second.data(), header->second.size()});
    if (caller) return caller->Child();
  }
  return NewTrace(records);
}

}  // namespace

RunningCall::~RunningCall() { KVASIR_CHECK(record_ == nullptr); }

void RunningCall::End(absl::Status status) {
  KVASIR_CHECK(record_ != nullptr);
  record_->status = std::move(status);
  calls_->End(*std::exchange(record_, nullptr));
}

absl::StatusOr<RunningCall> RunningCalls::Begin(std::string_view method,
                                                grpc::CallbackServerContext& context,
                                                std::string_view session_id) {
  auto record = std::make_unique<RequestRecord>();
  record->context = {.method = method,
                     .tenant = "",
                     .peer = context.peer(),
                     .trace = OwnSpan(context, observers_.tracer != nullptr),
                     .arrived = absl::Now(),
                     .begun = std::chrono::steady_clock::now()};
  record->session_id = std::string(session_id);
  context.AddTrailingMetadata(kTraceparent, record->context.trace.traceparent());
  record->status = Admit(context, record->context);
  if (record->status.ok()) record->status = Enter(record->context);
  if (record->status.ok()) return RunningCall(this, std::move(record));
  Tell(*record);
  return record->status;
}

absl::Status RunningCalls::Enter(const RequestContext& request) {
  const std::lock_guard lock(mutex_);
  if (draining_) {
    return MakeError(Reason::kDraining, "the server is draining: it takes no new calls");
  }
  absl::Status status;
  if (guards_.quotas != nullptr) status = guards_.quotas->Begin(request.tenant, request.begun);
  if (status.ok()) ++running_;
  return status;
}

absl::Status RunningCalls::Admit(const grpc::CallbackServerContext& context,
                                 RequestContext& request) const {
  if (guards_.authenticator == nullptr) return absl::OkStatus();
  std::vector<std::string_view> headers;
  const auto [begin, end] = context.client_metadata().equal_range(kAuthorization);
  for (auto header = begin; header != end; ++header) {
    headers.emplace_back(header->second.data(), header->second.size());
  }
  absl::StatusOr<std::string> tenant = guards_.authenticator->TenantOf(headers);
  if (!tenant.ok()) return tenant.status();
  request.tenant = *std::move(tenant);
  return absl::OkStatus();
}

void RunningCalls::Tell(RequestRecord& record) const {
  const std::chrono::duration<double> took =
      std::chrono::steady_clock::now() - record.context.begun;
  record.took = absl::Seconds(took.count());
  observers_.metrics.Record(record.context.method, record.status.code(), took.count());
  if (observers_.log != nullptr) observers_.log->Write(record);
  if (observers_.tracer != nullptr && record.context.trace.sampled) {
    observers_.tracer->Record(SpansOf(record, observers_.service, observers_.model));
  }
}

void RunningCalls::End(RequestRecord& record) {
  Tell(record);
  if (guards_.quotas != nullptr) {
    uint64_t tokens = record.generate ? record.generate->computed_tokens : 0;
    if (record.conversion) tokens += record.conversion->tokens;
    guards_.quotas->End(record.context.tenant, tokens, std::chrono::steady_clock::now());
  }
  absl::AnyInvocable<void()> idle;
  {
    const std::lock_guard lock(mutex_);
    if (--running_ == 0 && draining_) idle = std::exchange(idle_, nullptr);
  }
  if (idle) idle();
}

void RunningCalls::Drain(absl::AnyInvocable<void()> idle) {
  {
    const std::lock_guard lock(mutex_);
    KVASIR_CHECK(!draining_);
    draining_ = true;
    if (running_ > 0) {
      idle_ = std::move(idle);
      return;
    }
  }
  idle();
}

}  // namespace kvasir
