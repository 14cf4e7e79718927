#include "services/cli/sessions_command.h"

#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "services/cli/answer_json.h"
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
    "  kvasir sessions delete monday tuesday\n"
    "  kvasir sessions export > sessions.jsonl\n"
    "  kvasir sessions import --model-server=elsewhere:50052 < sessions.jsonl";

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

// What makes a session of the same content, elsewhere or later.
v1::CreateSessionRequest CreationOf(const v1::Session& session, const TokenIds& ids) {
  using google::protobuf::util::TimeUtil;
  v1::CreateSessionRequest request;
  request.set_session_id(session.session_id());
  request.mutable_initial_ids()->Add(ids.begin(), ids.end());
  if (session.has_expire_time()) {
    *request.mutable_ttl() = session.expire_time() - session.last_use_time();
  }
  *request.mutable_labels() = session.labels();
  *request.mutable_sampling() = session.sampling();
  return request;
}

}  // namespace

CLI::App* SessionsCommand::AddTo(CLI::App& app) {
  CLI::App* command = app.add_subcommand("sessions", "Lists, shows, deletes and moves sessions");
  command->footer(kExamples);
  command->require_subcommand(1);
  list_ = command->add_subcommand("list", "All sessions, by id");
  list_->footer(
      "Examples:\n  kvasir sessions list\n  kvasir sessions list --label=user=ada --json");
  AddSwitch(*list_, "--json", json_, "A JSON array, a session a line");
  show_ = command->add_subcommand("show", "What there is to know of a session");
  show_->footer("Examples:\n  kvasir sessions show monday\n  kvasir sessions show monday --json");
  show_->add_option("id", ids_, "Session id")->required()->expected(1);
  AddSwitch(*show_, "--json", json_, "A JSON object");
  delete_ = command->add_subcommand("delete", "Deletes sessions, cancelling what runs on them");
  delete_->footer("Examples:\n  kvasir sessions delete monday tuesday");
  delete_->add_option("id", ids_, "Session ids")->required();
  export_ = command->add_subcommand("export", "All sessions to stdout, a JSON object a line");
  export_->footer("Examples:\n  kvasir sessions export > sessions.jsonl");
  import_ = command->add_subcommand("import", "Creates the sessions that export has written");
  import_->footer("Examples:\n  kvasir sessions import < sessions.jsonl");
  for (CLI::App* sub : {list_, export_}) {
    AddFlag(*sub, "--label", labels_, "Only sessions with this KEY=VALUE; may be repeated")
        ->expected(1)
        ->take_all();
  }
  for (CLI::App* sub : {list_, show_, delete_, export_, import_}) {
    connection_flags_.AddModelFlag(*sub);
  }
  return command;
}

int SessionsCommand::Run() {
  Interrupts::Get();
  if (list_->parsed()) return List();
  if (export_->parsed()) return Export();
  if (import_->parsed()) return Import();
  return show_->parsed() ? Show() : Delete();
}

grpc::Status SessionsCommand::ForEach(Connection& connection,
                                      const std::function<void(const v1::Session&)>& session) {
  v1::ListSessionsRequest request;
  request.set_page_size(kPageSize);
  for (const std::string& label : labels_) {
    const size_t equals = label.find('=');
    if (equals == std::string::npos) {
      return {grpc::StatusCode::INVALID_ARGUMENT, "--label: '" + label + "' is not KEY=VALUE"};
    }
    (*request.mutable_labels())[label.substr(0, equals)] = label.substr(equals + 1);
  }
  do {
    v1::ListSessionsResponse response;
    grpc::Status status =
        connection.Call(connection.model(), &ModelStub::ListSessions, request, response);
    if (!status.ok()) return status;
    for (const v1::Session& one : response.sessions()) session(one);
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return grpc::Status::OK;
}

int SessionsCommand::List() {
  Connection connection(connection_flags_);
  std::vector<std::vector<std::string>> rows = {
      {"SESSION", "LENGTH", "CACHED", "BUSY", "LAST USED", "EXPIRES"}};
  std::string json;
  const grpc::Status status = ForEach(connection, [&](const v1::Session& session) {
    rows.push_back(Row(session));
    if (json_) json += (json.empty() ? "\n" : ",\n") + Json(session, /*multi_line=*/false);
  });
  if (!status.ok()) return ReportFailure(status);
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

int SessionsCommand::Export() {
  Connection connection(connection_flags_);
  int exit_code = 0;
  const grpc::Status listed = ForEach(connection, [&](const v1::Session& session) {
    TokenIds ids;
    grpc::Status status;
    do {
      status = ReadSession(connection.model(), session.session_id(), 0, ids);
    } while (!status.ok() && IsTransient(status) && connection.retries().Again(status));
    if (status.ok()) {
      connection.retries().Progress();
      std::printf("%s\n", Json(CreationOf(session, ids), /*multi_line=*/false).c_str());
    } else {
      exit_code = ReportFailure(status);
    }
  });
  return listed.ok() ? exit_code : ReportFailure(listed);
}

int SessionsCommand::Import() {
  Connection connection(connection_flags_);
  int exit_code = 0;
  std::string line;
  for (int number = 1; std::getline(std::cin, line); ++number) {
    v1::CreateSessionRequest request;
    if (!google::protobuf::util::JsonStringToMessage(line, &request).ok()) {
      Tell("stdin, line " + std::to_string(number) + " is not what `export` writes");
      return 1;
    }
    v1::CreateSessionResponse response;
    bool repeated = false;
    const grpc::Status status = connection.Call(connection.model(), &ModelStub::CreateSession,
                                                request, response, &repeated);
    const bool done_before = repeated && status.error_code() == grpc::StatusCode::ALREADY_EXISTS;
    if (!status.ok() && !done_before) exit_code = ReportFailure(status);
  }
  return exit_code;
}

}  // namespace kvasir::cli
