#ifndef KVASIR_SERVICES_CLI_LOGPROB_TABLE_H_
#define KVASIR_SERVICES_CLI_LOGPROB_TABLE_H_

#include <map>
#include <string>

#include "services/cli/connection.h"

namespace kvasir::cli {

// A line on stdout for each token: id, log-probability, text, and its alternatives, with tabs
// between them. A token that came without has "-".
class LogprobTable {
 public:
  // REQUIRES: `connection` outlives this.
  explicit LogprobTable(Connection& connection) : connection_(connection) {}

  void Print(const v1::TokenChunk& chunk);
  // Why texts are missing, if they are.
  const grpc::Status& status() const { return status_; }

 private:
  // In quotes, with C's escapes.
  const std::string& TextOf(uint32_t id);

  Connection& connection_;
  std::map<uint32_t, std::string> texts_;
  grpc::Status status_;
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_LOGPROB_TABLE_H_
