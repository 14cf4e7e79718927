#include "tests/services/certificates.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <vector>

#include "tests/services/program.h"

namespace kvasir::testing {
namespace {

void OpenSsl(std::vector<std::string> arguments) {
  for (const char* more : {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"}) {
    arguments.emplace_back(more);
  }
  Program openssl("/usr/bin/openssl", arguments);
  EXPECT_EQ(openssl.Wait(), 0) << openssl.standard_error();
}

}  // namespace

Authority::Authority() {
  OpenSsl({"req", "-x509", "-subj", "/CN=authority", "-keyout", path("ca.key"), "-out", ca()});
}

void Authority::Issue(const std::string& name, const std::string& host) const {
  OpenSsl({"req", "-x509", "-subj", "/CN=" + name, "-addext", "subjectAltName=DNS:" + host,
           "-addext", "basicConstraints=critical,CA:FALSE", "-CA", ca(), "-CAkey", path("ca.key"),
           "-keyout", path(name + ".key"), "-out", path(name + ".crt")});
}

std::string ReadAllOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace kvasir::testing
