#include "services/gateway/error_answer.h"

#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <cctype>

#include "engine/error.h"
#include "tokenizer/utf8.h"

namespace kvasir::gateway {
namespace {

constexpr int kClientClosedRequest = 499;  // nginx's: nobody hears it

int HttpStatusOf(const absl::Status& status, const std::string& reason) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
      return 409;
    case absl::StatusCode::kResourceExhausted:  // what can never fit is no matter of time
      return reason == "KV_TOO_SMALL" ? 400 : 429;
    case absl::StatusCode::kCancelled:
      return kClientClosedRequest;
    case absl::StatusCode::kUnimplemented:
      return 501;
    case absl::StatusCode::kUnavailable:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

std::string_view TypeOf(int http_status) {
  switch (http_status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 409:
      return "conflict_error";
    case 429:
      return "rate_limit_error";
    default:
      return http_status < 500 ? "invalid_request_error" : "server_error";
  }
}

std::string CodeOf(int http_status, const std::string& reason) {
  if (http_status == 401) return "invalid_api_key";
  if (reason == "CONTEXT_EXCEEDED") return "context_length_exceeded";
  if (reason == "INVALID_FIELD") return "invalid_value";
  std::string code;
  for (const char c : reason) code += static_cast<char>(std::tolower(c));
  return code;
}

std::string ParamOf(std::string_view field, std::string_view prompt_field) {
  constexpr std::string_view kSampling = "sampling.";
  if (field.starts_with(kSampling)) field.remove_prefix(kSampling.size());
  if (field.starts_with("input_ids")) return std::string(prompt_field);
  if (field == "max_new_tokens") return "max_tokens";
  if (field == "template_arguments") return "chat_template_kwargs";
  return std::string(field);
}

std::string Written(std::string_view message, std::string_view type, std::string_view param,
                    std::string_view code) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> json(buffer);
  const auto member = [&json](const char* name, std::string_view value, bool null) {
    json.Key(name);
    std::string text;
    AppendRepaired(value, text, nullptr);
    if (null && text.empty()) {
      json.Null();
    } else {
      json.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
    }
  };
  json.StartObject();
  json.Key("error");
  json.StartObject();
  member("message", message, false);
  member("type", type, false);
  member("param", param, true);
  member("code", code, true);
  json.EndObject();
  json.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace

ErrorAnswer DescribeError(const absl::Status& status, std::string_view prompt_field) {
  const ErrorDetail detail = DetailOf(status);
  const int http_status = HttpStatusOf(status, detail.reason);
  const auto field = detail.metadata.find("field");
  const std::string param =
      field == detail.metadata.end() ? "" : ParamOf(field->second, prompt_field);
  std::string message(status.message().data(), status.message().size());
  // It begins with the field as the services call it.
  if (!param.empty() && message.starts_with(field->second)) {
    message.replace(0, field->second.size(), param);
  }
  return {.http_status = http_status,
          .json = Written(message, TypeOf(http_status), param, CodeOf(http_status, detail.reason)),
          .retry_after = detail.retry_after};
}

ErrorAnswer MakeErrorAnswer(int http_status, std::string_view message, std::string_view code) {
  return {.http_status = http_status,
          .json = Written(message, TypeOf(http_status), "", code),
          .retry_after = std::nullopt};
}

}  // namespace kvasir::gateway
