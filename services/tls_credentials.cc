#include "services/tls_credentials.h"

#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "absl/strings/str_cat.h"

namespace kvasir {
namespace {

constexpr unsigned kLookEverySeconds = 2;

template <auto kFree>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Bio = std::unique_ptr<BIO, Freer<BIO_free>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;

absl::Status Bad(const char* flag, const std::string& path, const char* why) {
  ERR_clear_error();
  return absl::InvalidArgumentError(absl::StrCat(flag, ": ", path, ": ", why));
}

// Nobody is asked for one.
int NoPassphrase(char*, int, int, void*) { return 0; }

// The first certificate of a file; null where there is none.
Certificate ReadCertificate(const std::string& path) {
  const Bio file(BIO_new_file(path.c_str(), "r"));
  if (file == nullptr) return nullptr;
  return Certificate(PEM_read_bio_X509(file.get(), nullptr, NoPassphrase, nullptr));
}

}  // namespace

absl::Status CheckTlsFiles(const TlsFiles& files) {
  const Certificate certificate = ReadCertificate(files.certificate);
  if (certificate == nullptr) {
    return Bad("--tls-cert", files.certificate, "no certificate in PEM can be read from it");
  }
  const Bio file(BIO_new_file(files.key.c_str(), "r"));
  const Key key(file == nullptr
                    ? nullptr
                    : PEM_read_bio_PrivateKey(file.get(), nullptr, NoPassphrase, nullptr));
  if (key == nullptr) {
    return Bad("--tls-key", files.key, "no key in PEM without a passphrase can be read from it");
  }
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    return Bad("--tls-key", files.key, "is not the key of the certificate of --tls-cert");
  }
  if (!files.client_ca.empty() && ReadCertificate(files.client_ca) == nullptr) {
    return Bad("--tls-client-ca", files.client_ca, "no certificate in PEM can be read from it");
  }
  return absl::OkStatus();
}

std::shared_ptr<grpc::ServerCredentials> TlsCredentials(const TlsFiles& files) {
  using grpc::experimental::FileWatcherCertificateProvider;
  const auto provider = std::make_shared<FileWatcherCertificateProvider>(
      files.key, files.certificate, files.client_ca, kLookEverySeconds);
  grpc::experimental::TlsServerCredentialsOptions options(provider);
  options.watch_identity_key_cert_pairs();
  if (!files.client_ca.empty()) {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(options);
}

}  // namespace kvasir
