#ifndef KVASIR_TESTS_SERVICES_RAW_CALL_H_
#define KVASIR_TESTS_SERVICES_RAW_CALL_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <utility>

namespace kvasir::testing {

// Calls a method whose messages we have no classes for: sends one message's bytes and returns the
// first answer's. A failure where there is none within 10 seconds.
std::string RawCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                    const std::string& request);

// grpc.health.v1.HealthCheckResponse.ServingStatus of the whole server.
enum class Health { kUnknown = 0, kServing = 1, kNotServing = 2 };
Health CheckHealth(const std::shared_ptr<grpc::Channel>& channel);

// A TCP connection to an IPv4 address HOST:PORT; a failure where there is none.
class Connection {
 public:
  explicit Connection(const std::string& address);
  ~Connection();
  Connection(Connection&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Connection& operator=(Connection&&) = delete;

  // Sends the request and reads until the other side closes.
  std::string Ask(const std::string& request);

 private:
  int fd_ = -1;
};

// The answer of http://<address><path>, headers and all.
std::string HttpGet(const std::string& address, const std::string& path);

// The body of http://<address>/metrics; a failure where there is none.
std::string Scrape(const std::string& address);

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_SERVICES_RAW_CALL_H_
