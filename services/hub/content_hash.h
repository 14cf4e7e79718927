#ifndef KVASIR_SERVICES_HUB_CONTENT_HASH_H_
#define KVASIR_SERVICES_HUB_CONTENT_HASH_H_

#include <openssl/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace kvasir::hub {

// What a hub says of a file's content: the SHA-256 of it where it is large (Git LFS), else the
// SHA-1 that Git gives the blob: of "blob SIZE", a zero byte, and the content.
struct ContentHash {
  std::string hex;  // 64 digits or 40

  bool is_sha256() const { return hex.size() == 64; }
  friend bool operator==(const ContentHash&, const ContentHash&) = default;
};

// The hash in an ETag (quoted or not, weak or not); nothing where it is something else.
std::optional<ContentHash> ContentHashFromEtag(std::string_view etag);

// The hash of a content that comes in pieces, of the same kind as another one.
class ContentHasher {
 public:
  // `size`: of the whole content.
  ContentHasher(const ContentHash& like, int64_t size);

  void Update(std::string_view bytes);
  // To be called once, after the last piece.
  ContentHash Finish();

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const;
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_;
};

}  // namespace kvasir::hub

#endif  // KVASIR_SERVICES_HUB_CONTENT_HASH_H_
