#ifndef KVASIR_TESTS_SERVICES_CLI_FAILING_RELAY_H_
#define KVASIR_TESTS_SERVICES_CLI_FAILING_RELAY_H_

#include <grpcpp/grpcpp.h>

#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "kvasir/v1/model.grpc.pb.h"

namespace kvasir::testing {

// The way to a model service, which fails when and as it is told to.
class FailingRelay : public v1::ModelService::Service {
 public:
  // How one call fails.
  struct Failure {
    // What becomes of the call at the service: it never gets there; it is given up there once
    // `tokens` have been carried, and has ended before the client hears of it; it runs to its end.
    enum class Behind { kNotCalled, kCancelled, kCompleted } behind = Behind::kNotCalled;
    grpc::Status status = {grpc::StatusCode::UNAVAILABLE, "the relay fails"};
    // Of Generate, what the client gets before.
    bool started = true;
    size_t tokens = std::numeric_limits<size_t>::max();
    bool wrong_tokens = false;  // others than the service gave
    // Done before the client hears of the failure.
    std::function<void()> then;
  };

  // REQUIRES: `service`, until the next ServedBy, outlives the calls.
  explicit FailingRelay(v1::ModelService::Stub& service);
  ~FailingRelay() override;

  // Another service takes over. REQUIRES: a failure's `then`, or no call runs.
  void ServedBy(v1::ModelService::Stub& service) { service_ = &service; }
  // The next call of `method` ("Generate") that is not yet to fail.
  void FailNext(const std::string& method, Failure failure);
  // Every call that is not to fail otherwise, while this gives a status that is not OK.
  void FailWhile(std::function<grpc::Status(const std::string& method)> status);
  // Changes what GetSession answers.
  void OnGetSession(std::function<void(v1::Session&)> change) { change_ = std::move(change); }

  const std::string& address() const { return address_; }
  v1::ModelService::Stub& stub() { return *stub_; }

  struct Call {
    std::string method;
    std::string session;  // the header
  };
  const std::vector<Call>& calls() const { return calls_; }
  size_t Count(const std::string& method) const;
  // Of the Generate calls.
  const std::vector<v1::GenerateRequest>& requests() const { return requests_; }

  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>* writer) override;
  grpc::Status ReadSession(grpc::ServerContext* context, const v1::ReadSessionRequest* request,
                           grpc::ServerWriter<v1::ReadSessionResponse>* writer) override;
  grpc::Status GetSession(grpc::ServerContext* context, const v1::GetSessionRequest* request,
                          v1::GetSessionResponse* response) override;
  grpc::Status CreateSession(grpc::ServerContext* context, const v1::CreateSessionRequest* request,
                             v1::CreateSessionResponse* response) override;
  grpc::Status ForkSession(grpc::ServerContext* context, const v1::ForkSessionRequest* request,
                           v1::ForkSessionResponse* response) override;
  grpc::Status TruncateSession(grpc::ServerContext* context,
                               const v1::TruncateSessionRequest* request,
                               v1::TruncateSessionResponse* response) override;
  grpc::Status DeleteSession(grpc::ServerContext* context, const v1::DeleteSessionRequest* request,
                             v1::DeleteSessionResponse* response) override;
  grpc::Status GetModelInfo(grpc::ServerContext* context, const v1::GetModelInfoRequest* request,
                            v1::GetModelInfoResponse* response) override;

 private:
  // Notes the call, and says how it is to fail.
  std::optional<Failure> Begin(const std::string& method, const grpc::ServerContext& context);
  template <typename Request, typename Response>
  grpc::Status Forward(const std::string& method,
                       grpc::Status (v1::ModelService::Stub::*call)(grpc::ClientContext*,
                                                                    const Request&, Response*),
                       const grpc::ServerContext& context, const Request& request,
                       Response& response);
  void AwaitIdle(const std::string& session_id);

  v1::ModelService::Stub* service_;
  std::map<std::string, std::deque<Failure>> failures_;
  std::function<grpc::Status(const std::string&)> status_;
  std::function<void(v1::Session&)> change_;
  std::vector<Call> calls_;
  std::vector<v1::GenerateRequest> requests_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  std::unique_ptr<v1::ModelService::Stub> stub_;
};

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_SERVICES_CLI_FAILING_RELAY_H_
