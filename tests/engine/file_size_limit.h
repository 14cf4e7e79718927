#ifndef KVASIR_TESTS_ENGINE_FILE_SIZE_LIMIT_H_
#define KVASIR_TESTS_ENGINE_FILE_SIZE_LIMIT_H_

#include <sys/resource.h>

#include <csignal>

namespace kvasir::testing {

// No file of this process may grow past `bytes`, as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, SIG_DFL);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
};

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_ENGINE_FILE_SIZE_LIMIT_H_
