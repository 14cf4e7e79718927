#ifndef KVASIR_SERVICES_MODEL_MESSAGES_H_
#define KVASIR_SERVICES_MODEL_MESSAGES_H_

#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "kvasir/v1/model.pb.h"

namespace kvasir {

// The API's messages as the engine's structures and back. The engine checks values; only what its
// structures cannot hold is an error here. An id over INT_MAX becomes negative, which the engine
// refuses and reports as the unsigned number that it was.
GenerateRequest FromProto(const v1::GenerateRequest& proto);
absl::StatusOr<CreateSessionRequest> FromProto(const v1::CreateSessionRequest& proto);
ListSessionsRequest FromProto(const v1::ListSessionsRequest& proto);

v1::Session ToProto(const SessionInfo& session);
v1::GetModelInfoResponse ToProto(const ModelInfo& info);
v1::GenerateStarted ToProto(const GenerateStarted& started);
v1::GenerateComplete ToProto(const GenerateComplete& complete);
v1::TokenLogprob ToProto(const TokenLogprob& logprob);

}  // namespace kvasir

#endif  // KVASIR_SERVICES_MODEL_MESSAGES_H_
