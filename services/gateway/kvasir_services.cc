#include "services/gateway/kvasir_services.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/trace_context.h"

namespace kvasir::gateway {
namespace {

constexpr std::chrono::seconds kReachPatience{2};

// gRPC takes printable ASCII.
bool IsPrintable(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

}  // namespace

void KvasirServices::Identify(grpc::ClientContext& context, const Caller& caller) {
  if (!caller.authorization.empty() && IsPrintable(caller.authorization)) {
    context.AddMetadata("authorization", caller.authorization);
  }
  if (ParseTraceparent(caller.traceparent)) {
    context.AddMetadata("traceparent", caller.traceparent);
  }
}

absl::StatusOr<TokenIds> KvasirServices::ReadSession(const Caller& caller, const std::string& id) {
  v1::ReadSessionRequest request;
  request.set_session_id(id);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  Prepare(context, caller, request);
  const auto call = model().ReadSession(&context, request);
  TokenIds ids;
  v1::ReadSessionResponse response;
  while (call->Read(&response)) {
    ids.insert(ids.end(), response.ids().begin(), response.ids().end());
  }
  if (absl::Status status = FromGrpcStatus(call->Finish()); !status.ok()) return status;
  return ids;
}

absl::StatusOr<std::shared_ptr<const KvasirServices::Facts>> KvasirServices::Learn(
    const Caller& caller) {
  if (absl::Status status = CheckReached(); !status.ok()) return status;
  {
    const std::lock_guard lock(mutex_);
    if (facts_ != nullptr) return facts_;
  }
  v1::GetTokenizerInfoRequest tokenizer_request;
  tokenizer_request.set_with_token_bytes(true);
  v1::GetTokenizerInfoResponse info;
  absl::Status status = Call(tokenizer(), &v1::TokenizerService::Stub::GetTokenizerInfo, caller,
                             tokenizer_request, info);
  v1::GetModelInfoResponse model_info;
  if (status.ok()) {
    status = Call(model(), &v1::ModelService::Stub::GetModelInfo, caller, v1::GetModelInfoRequest(),
                  model_info);
  }
  if (!status.ok()) return status;
  const std::vector<std::string> bytes(info.token_bytes().begin(), info.token_bytes().end());
  std::vector<TokenTable::Added> added;
  for (const v1::AddedToken& token : info.added_tokens()) {
    if (token.id() < bytes.size()) added.push_back({token.id(), token.special()});
  }
  if (bytes.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the tokenizer service, ", info.version(), ", is older than the gateway"));
  }
  auto facts = std::make_shared<const Facts>(
      Facts{TokenTable(bytes, added), model_info.model_name(),
            model_info.fingerprint().substr(0, 16), model_info.max_context()});
  const std::lock_guard lock(mutex_);
  if (facts_ == nullptr) facts_ = std::move(facts);
  return facts_;
}

absl::Status KvasirServices::CheckReached() {
  const auto deadline = std::chrono::system_clock::now() + kReachPatience;
  if (!connection_.ReachesModel(deadline)) {
    return absl::UnavailableError("kvasir-model is not reached");
  }
  if (!connection_.ReachesTokenizer(deadline)) {
    return absl::UnavailableError("kvasir-tokenizer is not reached");
  }
  return absl::OkStatus();
}

}  // namespace kvasir::gateway
