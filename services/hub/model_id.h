#ifndef KVASIR_SERVICES_HUB_MODEL_ID_H_
#define KVASIR_SERVICES_HUB_MODEL_ID_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace kvasir::hub {

// What a model is called on a hub: Qwen/Qwen3-4B-Instruct-2507.
struct ModelId {
  std::string organization;
  std::string name;

  std::string Text() const { return organization + "/" + name; }
};

// Reads ORGANIZATION/NAME by the hub's own rules, which make it safe in paths and addresses:
// letters, digits, '_', '-' and '.', no "--" and no "..". INVALID_ARGUMENT otherwise.
absl::StatusOr<ModelId> ParseModelId(std::string_view text);

// A branch, tag or commit. INVALID_ARGUMENT where it could not be a path below refs/.
absl::Status CheckRevision(std::string_view revision);

// Whether it is a commit in full, which never means anything else: 40 lower-case hexadecimal
// digits.
bool IsCommit(std::string_view revision);

// Whether `text` is so many lower-case hexadecimal digits.
bool IsHex(std::string_view text, size_t digits);

}  // namespace kvasir::hub

#endif  // KVASIR_SERVICES_HUB_MODEL_ID_H_
