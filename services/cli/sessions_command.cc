#include "services/cli/sessions_command.h"

#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <cstdio>

#include "services/cli/client_flags.h"

namespace kvasir::cli {
namespace {

using ModelStub = v1::ModelService::Stub;

constexpr uint32_t kPageSize = 200;

constexpr char kExamples[] =
    "Examples:\n"
    "  kvasir sessions list\n"
    "  kvasir sessions list --label=user=ada --json\n"
    "  kvasir sessions show monday\n"
    "  kvasir sessions delete monday tuesday";

// As Protobuf writes JSON: 64-bit integers are strings.
std::string Json(const google::protobuf::Message& message, bool multi_line) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  options.add_whitespace = multi_line;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(message, &json, options).ok()) return "{}";
  while (!json.empty() && json.back() == '\n') json.pop_back();
  return json;
}

std::string Time(bool set, const google::protobuf::Timestamp& time) {
  if (!set) return "-";
  google::protobuf::Timestamp seconds = time;
  seconds.set_nanos(0);
  return google::protobuf::util::TimeUtil::ToString(seconds);
}

// Columns as wide as they need to be.
void PrintTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths(rows[0].size());
  for (const std::vector<std::string>& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const std::vector<std::string>& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      const bool last = i + 1 == row.size();
      std::printf("%-*s%s", last ? 0 : static_cast<int>(widths[i]), row[i].c_str(),
                  last ? "\n" : "  ");
    }
  }
}

std::vector<std::string> Row(const v1::Session& session) {
  return {session.session_id(),
          std::to_string(session.length()),
          std::to_string(session.cached_tokens()),
          session.busy() ? "yes" : "no",
          Time(session.has_last_use_time(), session.last_use_time()),
          Time(session.has_expire_time(), session.expire_time())};
}

void PrintDetails(const v1::Session& session) {
  std::vector<std::vector<std::string>> rows = {
      {"session", session.session_id()},
      {"length", std::to_string(session.length())},
      {"cached tokens", std::to_string(session.cached_tokens())},
      {"busy", session.busy() ? "yes" : "no"},
      {"created", Time(session.has_create_time(), session.create_time())},
      {"last used", Time(session.has_last_use_time(), session.last_use_time())},
      {"expires", Time(session.has_expire_time(), session.expire_time())}};
  if (!session.parent_session_id().empty()) {
    rows.push_back({"forked from", session.parent_session_id()});
  }
  for (const auto& [key, value] : session.labels()) rows.push_back({"label " + key, value});
  rows.push_back({"seed", std::to_string(session.sampling().seed())});
  if (!session.last_request_id().empty()) {
    rows.push_back({"last request", session.last_request_id()});
  }
  PrintTable(rows);
}

}  // namespace

CLI::App* SessionsCommand::AddTo(CLI::App& app) {
  CLI::App* command = app.add_subcommand("sessions", "Lists, shows and deletes sessions");
  command->footer(kExamples);
  command->require_subcommand(1);
  list_ = command->add_subcommand("list", "All sessions, by id");
  list_->footer(
      "Examples:\n  kvasir sessions list\n  kvasir sessions list --label=user=ada --json");
  AddFlag(*list_, "--label", labels_, "Only sessions with this KEY=VALUE; may be repeated")
      ->expected(1)
      ->take_all();
  AddSwitch(*list_, "--json", json_, "A JSON array, a session a line");
  show_ = command->add_subcommand("show", "What there is to know of a session");
  show_->footer("Examples:\n  kvasir sessions show monday\n  kvasir sessions show monday --json");
  show_->add_option("id", ids_, "Session id")->required()->expected(1);
  AddSwitch(*show_, "--json", json_, "A JSON object");
  delete_ = command->add_subcommand("delete", "Deletes sessions, cancelling what runs on them");
  delete_->footer("Examples:\n  kvasir sessions delete monday tuesday");
  delete_->add_option("id", ids_, "Session ids")->required();
  for (CLI::App* sub : {list_, show_, delete_}) connection_flags_.AddModelFlag(*sub);
  return command;
}

int SessionsCommand::Run() {
  Interrupts::Get();
  if (list_->parsed()) return List();
  return show_->parsed() ? Show() : Delete();
}

int SessionsCommand::List() {
  Connection connection(connection_flags_);
  v1::ListSessionsRequest request;
  request.set_page_size(kPageSize);
  for (const std::string& label : labels_) {
    const size_t equals = label.find('=');
    if (equals == std::string::npos) {
      return ReportFailure(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                                        "--label: '" + label + "' is not KEY=VALUE"));
    }
    (*request.mutable_labels())[label.substr(0, equals)] = label.substr(equals + 1);
  }
  std::vector<std::vector<std::string>> rows = {
      {"SESSION", "LENGTH", "CACHED", "BUSY", "LAST USED", "EXPIRES"}};
  std::string json;
  do {
    v1::ListSessionsResponse response;
    const grpc::Status status =
        connection.Call(connection.model(), &ModelStub::ListSessions, request, response);
    if (!status.ok()) return ReportFailure(status);
    for (const v1::Session& session : response.sessions()) {
      rows.push_back(Row(session));
      if (json_) json += (json.empty() ? "\n" : ",\n") + Json(session, /*multi_line=*/false);
    }
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  if (json_) {
    std::printf("[%s%s]\n", json.c_str(), json.empty() ? "" : "\n");
  } else {
    PrintTable(rows);
  }
  return 0;
}

int SessionsCommand::Show() {
  Connection connection(connection_flags_);
  v1::GetSessionRequest request;
  request.set_session_id(ids_[0]);
  v1::GetSessionResponse response;
  const grpc::Status status =
      connection.Call(connection.model(), &ModelStub::GetSession, request, response);
  if (!status.ok()) return ReportFailure(status);
  if (json_) {
    std::printf("%s\n", Json(response.session(), /*multi_line=*/true).c_str());
  } else {
    PrintDetails(response.session());
  }
  return 0;
}

int SessionsCommand::Delete() {
  Connection connection(connection_flags_);
  int exit_code = 0;
  for (const std::string& id : ids_) {
    v1::DeleteSessionRequest request;
    request.set_session_id(id);
    v1::DeleteSessionResponse response;
    bool repeated = false;
    const grpc::Status status = connection.Call(connection.model(), &ModelStub::DeleteSession,
                                                request, response, &repeated);
    const bool done_before = repeated && status.error_code() == grpc::StatusCode::NOT_FOUND;
    if (!status.ok() && !done_before) exit_code = ReportFailure(status);
  }
  return exit_code;
}

}  // namespace kvasir::cli
