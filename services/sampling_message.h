#ifndef KVASIR_SERVICES_SAMPLING_MESSAGE_H_
#define KVASIR_SERVICES_SAMPLING_MESSAGE_H_

#include "engine/sampling.h"
#include "kvasir/v1/model.pb.h"

namespace kvasir {

// The API's sampling parameters as the engine's, and back. Values are for the engine to check.
SamplingOverrides FromProto(const v1::SamplingParameters& proto);
v1::SamplingParameters ToProto(const SamplingOverrides& sampling);

}  // namespace kvasir

#endif  // KVASIR_SERVICES_SAMPLING_MESSAGE_H_
