#include "services/cli/sampling_flags.h"

#include <charconv>

#include "services/cli/client_flags.h"

namespace kvasir::cli {
namespace {

grpc::Status StopId(Connection& connection, const std::string& stop, uint32_t& id) {
  const char* end = stop.data() + stop.size();
  const auto number = std::from_chars(stop.data(), end, id);
  if (number.ec == std::errc() && number.ptr == end) return grpc::Status::OK;
  TokenIds ids;
  grpc::Status status = connection.Encode(stop, ids);
  if (!status.ok()) return status;
  if (ids.size() != 1) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                        "--stop: '" + stop + "' is " + std::to_string(ids.size()) +
                            " tokens; it must be one, or a token's id");
  }
  id = ids[0];
  return grpc::Status::OK;
}

}  // namespace

void SamplingFlags::AddTo(CLI::App& app) {
  AddFlag(app, "--temperature", temperature, "0: always the most probable token");
  AddFlag(app, "--top-k", top_k, "Only the K most probable tokens; 0: off");
  AddFlag(app, "--top-p", top_p, "Only the most probable tokens that make up P; 1: off");
  AddFlag(app, "--min-p", min_p, "Only tokens at least P times as probable as the best; 0: off");
  AddFlag(app, "--seed", seed, "The same seed gives the same tokens");
  AddFlag(app, "--repetition-penalty", repetition_penalty, "1: off");
  AddFlag(app, "--frequency-penalty", frequency_penalty, "0: off");
  AddFlag(app, "--presence-penalty", presence_penalty, "0: off");
  AddFlag(app, "-n,--max-new-tokens", max_new_tokens,
          "Not given: until a stop token, or the end of the context");
  AddFlag(app, "--stop", stop, "A token to stop at (its text, or its id); may be repeated")
      ->expected(1)
      ->take_all();
  AddSwitch(app, "--ignore-eos", ignore_eos, "Do not stop at the model's own stop tokens");
}

grpc::Status SamplingFlags::Fill(Connection& connection, v1::GenerateRequest& request) const {
  v1::SamplingParameters& sampling = *request.mutable_sampling();
  if (temperature.has_value()) sampling.set_temperature(*temperature);
  if (top_k.has_value()) sampling.set_top_k(*top_k);
  if (top_p.has_value()) sampling.set_top_p(*top_p);
  if (min_p.has_value()) sampling.set_min_p(*min_p);
  if (seed.has_value()) sampling.set_seed(*seed);
  if (repetition_penalty.has_value()) sampling.set_repetition_penalty(*repetition_penalty);
  if (frequency_penalty.has_value()) sampling.set_frequency_penalty(*frequency_penalty);
  if (presence_penalty.has_value()) sampling.set_presence_penalty(*presence_penalty);
  if (max_new_tokens.has_value()) request.set_max_new_tokens(*max_new_tokens);
  request.set_ignore_eos(ignore_eos);
  for (const std::string& text : stop) {
    uint32_t id = 0;
    grpc::Status status = StopId(connection, text, id);
    if (!status.ok()) return status;
    request.add_stop_token_ids(id);
  }
  return grpc::Status::OK;
}

}  // namespace kvasir::cli
