#include "services/sampling_message.h"

#include <algorithm>

namespace kvasir {

SamplingOverrides FromProto(const v1::SamplingParameters& proto) {
  SamplingOverrides sampling;
  if (proto.has_temperature()) sampling.temperature = proto.temperature();
  if (proto.has_top_k()) sampling.top_k = proto.top_k();
  if (proto.has_top_p()) sampling.top_p = proto.top_p();
  if (proto.has_min_p()) sampling.min_p = proto.min_p();
  if (proto.has_seed()) sampling.seed = proto.seed();
  if (proto.has_repetition_penalty()) sampling.repetition_penalty = proto.repetition_penalty();
  if (proto.has_frequency_penalty()) sampling.frequency_penalty = proto.frequency_penalty();
  if (proto.has_presence_penalty()) sampling.presence_penalty = proto.presence_penalty();
  for (const auto& [id, bias] : proto.logit_bias()) {
    sampling.logit_bias.emplace_back(static_cast<int>(id), bias);
  }
  // A map has no order; equal requests shall be equal here too.
  std::sort(sampling.logit_bias.begin(), sampling.logit_bias.end());
  return sampling;
}

v1::SamplingParameters ToProto(const SamplingOverrides& sampling) {
  v1::SamplingParameters proto;
  if (sampling.temperature) proto.set_temperature(*sampling.temperature);
  if (sampling.top_k) proto.set_top_k(*sampling.top_k);
  if (sampling.top_p) proto.set_top_p(*sampling.top_p);
  if (sampling.min_p) proto.set_min_p(*sampling.min_p);
  if (sampling.seed) proto.set_seed(*sampling.seed);
  if (sampling.repetition_penalty) proto.set_repetition_penalty(*sampling.repetition_penalty);
  if (sampling.frequency_penalty) proto.set_frequency_penalty(*sampling.frequency_penalty);
  if (sampling.presence_penalty) proto.set_presence_penalty(*sampling.presence_penalty);
  for (const auto& [id, bias] : sampling.logit_bias) {
    (*proto.mutable_logit_bias())[static_cast<uint32_t>(id)] = bias;
  }
  return proto;
}

}  // namespace kvasir
