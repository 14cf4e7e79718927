#ifndef KVASIR_SERVICES_TLS_CREDENTIALS_H_
#define KVASIR_SERVICES_TLS_CREDENTIALS_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "absl/status/status.h"

namespace kvasir {

// Files in PEM.
struct TlsFiles {
  std::string certificate;  // the server's, and those between it and its authority
  std::string key;          // without a passphrase
  // Authorities, one of which must have signed a client's certificate; empty: clients show none.
  std::string client_ca;
};

// Whether a server can use them. INVALID_ARGUMENT naming flag and file; of a key nothing is told.
absl::Status CheckTlsFiles(const TlsFiles& files);

// TLS 1.2 or 1.3. When a file changes, connections from some seconds later on go by the new one;
// where certificate and key do not belong to each other, all fail until they do.
// REQUIRES: CheckTlsFiles is OK.
std::shared_ptr<grpc::ServerCredentials> TlsCredentials(const TlsFiles& files);

}  // namespace kvasir

#endif  // KVASIR_SERVICES_TLS_CREDENTIALS_H_
