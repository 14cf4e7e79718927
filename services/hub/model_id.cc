#include "services/hub/model_id.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace kvasir::hub {
namespace {

constexpr size_t kMaxPart = 96;
constexpr size_t kMaxRevision = 255;

bool IsWordCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_';
}

bool IsPart(std::string_view part) {
  if (part.empty() || part.size() > kMaxPart) return false;
  if (!IsWordCharacter(part.front()) || !IsWordCharacter(part.back())) return false;
  const auto allowed = [](char c) { return IsWordCharacter(c) || c == '-' || c == '.'; };
  return std::ranges::all_of(part, allowed) && part.find("--") == std::string_view::npos &&
         part.find("..") == std::string_view::npos;
}

}  // namespace

absl::StatusOr<ModelId> ParseModelId(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash != std::string_view::npos) {
    const std::string_view organization = text.substr(0, slash), name = text.substr(slash + 1);
    if (IsPart(organization) && IsPart(name) && !name.ends_with(".git")) {
      return ModelId{std::string(organization), std::string(name)};
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", std::string(text), "' is no model's name on a hub: ORGANIZATION/NAME, of ",
                   "letters, digits, '_', '-' and '.'"));
}

absl::Status CheckRevision(std::string_view revision) {
  const auto plain = [](char c) { return c > ' ' && c < 0x7f && c != '\\'; };
  const std::string whole(revision);
  bool fits = !whole.empty() && whole.size() <= kMaxRevision && std::ranges::all_of(whole, plain);
  for (const absl::string_view part : absl::StrSplit(whole, '/')) {
    fits = fits && !part.empty() && part != "." && part != "..";
  }
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("'", whole, "' is no revision: a branch, a tag or a commit"));
}

bool IsCommit(std::string_view revision) { return IsHex(revision, 40); }

bool IsHex(std::string_view text, size_t digits) {
  return text.size() == digits &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace kvasir::hub
