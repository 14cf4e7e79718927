#include "services/hub/content_hash.h"

#include <openssl/evp.h>

#include <array>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/check.h"
#include "services/hub/model_id.h"

namespace kvasir::hub {

std::optional<ContentHash> ContentHashFromEtag(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') {
    etag = etag.substr(1, etag.size() - 2);
  }
  if (!IsHex(etag, 64) && !IsHex(etag, 40)) return std::nullopt;
  return ContentHash{std::string(etag)};
}

void ContentHasher::Free::operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }

ContentHasher::ContentHasher(const ContentHash& like, int64_t size) : context_(EVP_MD_CTX_new()) {
  const EVP_MD* kind = like.is_sha256() ? EVP_sha256() : EVP_sha1();
  KVASIR_CHECK(context_ != nullptr && EVP_DigestInit_ex(context_.get(), kind, nullptr) == 1);
  if (!like.is_sha256()) {
    const std::string head = absl::StrCat("blob ", size);
    Update(std::string_view(head.c_str(), head.size() + 1));
  }
}

void ContentHasher::Update(std::string_view bytes) {
  KVASIR_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

ContentHash ContentHasher::Finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  KVASIR_CHECK(EVP_DigestFinal_ex(context_.get(), digest.data(), &size) == 1);
  return {absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest.data()), size))};
}

}  // namespace kvasir::hub
