#ifndef KVASIR_TESTS_SERVICES_CERTIFICATES_H_
#define KVASIR_TESTS_SERVICES_CERTIFICATES_H_

#include <string>

#include "tests/engine/temporary_directory.h"

namespace kvasir::testing {

// A certificate authority made by the openssl program, in files that go with the object.
class Authority {
 public:
  Authority();

  // A certificate for `host`, a DNS name, and its key: NAME.crt and NAME.key.
  void Issue(const std::string& name, const std::string& host = "localhost") const;
  std::string path(const std::string& file) const { return (folder_.path() / file).string(); }
  std::string ca() const { return path("ca.crt"); }

 private:
  TemporaryDirectory folder_;
};

std::string ReadAllOf(const std::string& path);

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_SERVICES_CERTIFICATES_H_
