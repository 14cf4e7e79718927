#include "services/model_messages.h"

#include <algorithm>
#include <optional>

#include "services/proto_time.h"
#include "services/sampling_message.h"

namespace kvasir {
namespace {

std::vector<int> Ids(const google::protobuf::RepeatedField<uint32_t>& proto) {
  std::vector<int> ids(proto.size());
  std::transform(proto.begin(), proto.end(), ids.begin(),
                 [](uint32_t id) { return static_cast<int>(id); });
  return ids;
}

std::map<std::string, std::string> Labels(
    const google::protobuf::Map<std::string, std::string>& proto) {
  return {proto.begin(), proto.end()};
}

v1::FinishReason ToProto(FinishReason reason) {
  switch (reason) {
    case FinishReason::kUnspecified:
      return v1::FINISH_REASON_UNSPECIFIED;
    case FinishReason::kStopToken:
      return v1::FINISH_REASON_STOP_TOKEN;
    case FinishReason::kMaxNewTokens:
      return v1::FINISH_REASON_MAX_NEW_TOKENS;
    case FinishReason::kMaxContext:
      return v1::FINISH_REASON_MAX_CONTEXT;
    case FinishReason::kInterrupted:
      return v1::FINISH_REASON_INTERRUPTED;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

}  // namespace

GenerateRequest FromProto(const v1::GenerateRequest& proto) {
  GenerateRequest request;
  request.session_id = proto.session_id();
  request.input_ids = Ids(proto.input_ids());
  if (proto.has_max_new_tokens()) request.max_new_tokens = proto.max_new_tokens();
  request.sampling = FromProto(proto.sampling());
  request.stop_token_ids = Ids(proto.stop_token_ids());
  request.ignore_eos = proto.ignore_eos();
  request.create_if_missing = proto.create_if_missing();
  if (proto.has_expected_length()) request.expected_length = proto.expected_length();
  if (proto.has_top_logprobs()) request.top_logprobs = proto.top_logprobs();
  request.prompt_logprobs = proto.prompt_logprobs();
  request.request_id = proto.request_id();
  return request;
}

absl::StatusOr<CreateSessionRequest> FromProto(const v1::CreateSessionRequest& proto) {
  CreateSessionRequest request;
  request.session_id = proto.session_id();
  request.initial_ids = Ids(proto.initial_ids());
  if (proto.has_ttl()) {
    const absl::StatusOr<absl::Duration> ttl = FromProto("ttl", proto.ttl());
    if (!ttl.ok()) return ttl.status();
    request.ttl = *ttl;
  }
  request.labels = Labels(proto.labels());
  request.sampling = FromProto(proto.sampling());
  return request;
}

ListSessionsRequest FromProto(const v1::ListSessionsRequest& proto) {
  return {.page_size = proto.page_size(),
          .page_token = proto.page_token(),
          .labels = Labels(proto.labels())};
}

v1::Session ToProto(const SessionInfo& session) {
  v1::Session proto;
  proto.set_session_id(session.session_id);
  proto.set_length(session.length);
  proto.set_cached_tokens(session.cached_tokens);
  proto.set_busy(session.busy);
  *proto.mutable_create_time() = ToProto(session.create_time);
  *proto.mutable_last_use_time() = ToProto(session.last_use_time);
  if (session.expire_time) *proto.mutable_expire_time() = ToProto(*session.expire_time);
  proto.set_parent_session_id(session.parent_session_id);
  proto.mutable_labels()->insert(session.labels.begin(), session.labels.end());
  *proto.mutable_sampling() = ToProto(session.sampling);
  proto.set_last_request_id(session.last_request_id);
  proto.set_last_base_length(session.last_base_length);
  proto.set_last_finish_reason(ToProto(session.last_finish_reason));
  return proto;
}

v1::GetModelInfoResponse ToProto(const ModelInfo& info) {
  v1::GetModelInfoResponse proto;
  proto.set_model_name(info.model_name);
  proto.set_fingerprint(info.fingerprint);
  proto.set_vocab_size(info.vocab_size);
  proto.set_max_context(info.max_context);
  proto.mutable_eos_token_ids()->Add(info.eos_token_ids.begin(), info.eos_token_ids.end());
  *proto.mutable_default_sampling() = ToProto(info.default_sampling);
  proto.set_device(info.device);
  proto.set_dtype(info.dtype);
  proto.set_numerics(info.numerics);
  proto.set_kv_tokens(info.kv_tokens);
  proto.set_version(KVASIR_VERSION);
  return proto;
}

v1::GenerateStarted ToProto(const GenerateStarted& started) {
  v1::GenerateStarted proto;
  proto.set_session_id(started.session_id);
  proto.set_session_length(started.session_length);
  proto.set_cached_tokens(started.cached_tokens);
  proto.set_seed(started.seed);
  return proto;
}

v1::GenerateComplete ToProto(const GenerateComplete& complete) {
  v1::GenerateComplete proto;
  proto.set_finish_reason(ToProto(complete.finish_reason));
  proto.set_session_length(complete.session_length);
  v1::Usage& usage = *proto.mutable_usage();
  usage.set_input_tokens(complete.input_tokens);
  usage.set_cached_tokens(complete.cached_tokens);
  usage.set_computed_tokens(complete.computed_tokens);
  usage.set_generated_tokens(complete.generated_tokens);
  v1::Timing& timing = *proto.mutable_timing();
  *timing.mutable_queued() = ToProto(complete.queued);
  *timing.mutable_prefill() = ToProto(complete.prefill);
  *timing.mutable_decode() = ToProto(complete.decode);
  return proto;
}

v1::TokenLogprob ToProto(const TokenLogprob& logprob) {
  v1::TokenLogprob proto;
  proto.set_id(static_cast<uint32_t>(logprob.id));
  proto.set_logprob(logprob.logprob);
  for (const TokenLogprob::Alternative& alternative : logprob.alternatives) {
    v1::Alternative& added = *proto.add_alternatives();
    added.set_id(static_cast<uint32_t>(alternative.id));
    added.set_logprob(alternative.logprob);
  }
  return proto;
}

}  // namespace kvasir
