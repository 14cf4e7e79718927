#include "services/request_log.h"

#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/error.h"
#include "services/log.h"

namespace kvasir {
namespace {

// Longer ids are not the API's.
constexpr size_t kLongestId = 128;
constexpr size_t kLongestPrompt = 16'384;  // bytes

// The first bytes of it, whole characters, and dots where there is more.
std::string Shortened(std::string_view text, size_t bytes) {
  if (text.size() <= bytes) return std::string(text);
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
  return absl::StrCat(std::string(text.substr(0, bytes)), "...");
}

// Two forms of the same fields. Empty and unknown values are left out.
class Fields {
 public:
  Fields() { json_.StartObject(); }

  void Text(const char* name, std::string_view value, size_t longest = kLongestId) {
    if (value.empty()) return;
    const std::string shown = AsUtf8(Shortened(value, longest));
    Key(name);
    json_.String(shown.data(), static_cast<rapidjson::SizeType>(shown.size()));
    AppendQuoted(shown);
  }
  void Count(const char* name, uint64_t value) {
    Key(name);
    json_.Uint64(value);
    absl::StrAppend(&text_, value);
  }
  // Nothing where the call did not come so far.
  void Seconds(const char* name, absl::Time from, absl::Time to) {
    if (from > absl::InfinitePast() && to > absl::InfinitePast()) Seconds(name, to - from);
  }
  void Seconds(const char* name, absl::Duration time) {
    const double seconds = absl::ToDoubleSeconds(time);
    Key(name);
    json_.Double(seconds);
    absl::StrAppend(&text_, seconds);
  }

  RequestLog::Line End() && {
    json_.EndObject();
    return {"request" + text_, std::string(buffer_.GetString(), buffer_.GetSize())};
  }

 private:
  void Key(const char* name) {
    json_.Key(name);
    absl::StrAppend(&text_, " ", name, "=");
  }
  // As it is, or as a JSON string where it would not be one word.
  void AppendQuoted(const std::string& value) {
    const bool plain = std::all_of(value.begin(), value.end(), [](char c) {
      return c > ' ' && c != '"' && c != '=' && c != '\\' && c != '\x7f';
    });
    if (plain) {
      text_ += value;
      return;
    }
    rapidjson::StringBuffer quoted;
    rapidjson::Writer<rapidjson::StringBuffer> writer(quoted);
    writer.String(value.data(), static_cast<rapidjson::SizeType>(value.size()));
    text_.append(quoted.GetString(), quoted.GetSize());
  }

  std::string text_;
  rapidjson::StringBuffer buffer_;
  rapidjson::Writer<rapidjson::StringBuffer> json_{buffer_};
};

void AddGenerate(Fields& fields, const GenerateReport& report) {
  fields.Count("input_tokens", report.input_tokens);
  fields.Count("cached_tokens", report.cached_tokens);
  fields.Count("computed_tokens", report.computed_tokens);
  fields.Count("generated_tokens", report.generated_tokens);
  if (report.finish_reason) fields.Text("finish_reason", NameOf(*report.finish_reason));
  fields.Seconds("queue_seconds", report.arrived, report.admitted);
  fields.Seconds("prefill_seconds", report.admitted, report.first_token);
  fields.Seconds("decode_seconds", report.first_token, report.generated);
  if (report.settled > report.generated) {
    fields.Seconds("journal_seconds", report.generated, report.settled);
  }
}

// What an operator should look at: not what a caller did wrong.
bool IsOurFault(absl::StatusCode code) {
  return code == absl::StatusCode::kInternal || code == absl::StatusCode::kUnknown ||
         code == absl::StatusCode::kDataLoss;
}

}  // namespace

RequestLog::Line RequestLog::Format(const RequestRecord& record) {
  const RequestContext& context = record.context;
  Fields fields;
  fields.Text("method", context.method);
  fields.Text("code", absl::StatusCodeToString(record.status.code()));
  if (!record.status.ok()) fields.Text("reason", DetailOf(record.status).reason);
  fields.Text("tenant", TenantOf(context));
  fields.Text("session_id", record.session_id);
  fields.Text("request_id", record.request_id);
  fields.Text("peer", context.peer);
  fields.Text("trace_id", context.trace.trace_id());
  fields.Text("span_id", context.trace.span_id());
  if (record.conversion) {
    fields.Count("bytes", record.conversion->bytes);
    fields.Count("tokens", record.conversion->tokens);
  }
  if (record.generate) AddGenerate(fields, *record.generate);
  fields.Seconds("total_seconds", record.took);
  fields.Text("prompt", record.prompt, kLongestPrompt);
  return std::move(fields).End();
}

void RequestLog::Write(const RequestRecord& record) const {
  const auto level = IsOurFault(record.status.code()) ? spdlog::level::err : spdlog::level::info;
  if (!LogsRequests(level)) return;
  const Line line = Format(record);
  LogRequest(level, line.text, line.json);
}

std::string PromptOfIds(std::span<const uint32_t> ids) {
  std::string prompt;
  for (size_t i = 0; i < ids.size() && prompt.size() <= kLongestPrompt; ++i) {
    absl::StrAppend(&prompt, i == 0 ? "" : " ", ids[i]);
  }
  return prompt;
}

std::string PromptOfText(std::string_view text) {
  // One byte more tells that it goes on.
  return std::string(text.substr(0, kLongestPrompt + 4));
}

}  // namespace kvasir
