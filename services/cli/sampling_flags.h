#ifndef KVASIR_SERVICES_CLI_SAMPLING_FLAGS_H_
#define KVASIR_SERVICES_CLI_SAMPLING_FLAGS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "services/cli/connection.h"

namespace kvasir::cli {

// How tokens are chosen, and when it is enough. What is not given is left to session and model;
// ranges are the service's to check.
struct SamplingFlags {
  std::optional<float> temperature;
  std::optional<uint32_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<uint64_t> seed;
  std::optional<float> repetition_penalty;
  std::optional<float> frequency_penalty;
  std::optional<float> presence_penalty;
  std::optional<uint32_t> max_new_tokens;
  std::vector<std::string> stop;
  bool ignore_eos = false;

  void AddTo(CLI::App& app);

  // Fills the request's fields. A `stop` that is no number is encoded: INVALID_ARGUMENT where it
  // is not one token.
  grpc::Status Fill(Connection& connection, v1::GenerateRequest& request) const;
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_SAMPLING_FLAGS_H_
