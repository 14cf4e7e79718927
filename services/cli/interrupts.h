#ifndef KVASIR_SERVICES_CLI_INTERRUPTS_H_
#define KVASIR_SERVICES_CLI_INTERRUPTS_H_

#include <grpcpp/client_context.h>

#include <atomic>
#include <chrono>
#include <map>
#include <mutex>

namespace kvasir::cli {

// Ctrl-C, for the whole process: it cancels the calls that are running, and is then told to
// whoever asks. Thread-safe.
class Interrupts {
 public:
  // The exit code of a program that Ctrl-C ended, as shells give it.
  static constexpr int kExitCode = 130;

  // The first call takes SIGINT over.
  static Interrupts& Get();

  // This signal counts as Ctrl-C from now on.
  void AlsoTake(int signal);

  // While it lives, so many Ctrl-C since the last Clear cancel `context`.
  class Cancels {
   public:
    explicit Cancels(grpc::ClientContext& context, int presses = 1);
    ~Cancels();
    Cancels(const Cancels&) = delete;
    Cancels& operator=(const Cancels&) = delete;

   private:
    grpc::ClientContext& context_;
  };

  // Whether it came since the last Clear.
  bool pending() const { return presses_ > 0; }
  void Clear();
  // Sleeps so long, or until pending().
  void Wait(std::chrono::nanoseconds time) const;
  // Readable, for poll(2), while pending().
  int descriptor() const { return event_; }

 private:
  Interrupts();
  [[noreturn]] void Watch(int pipe);

  std::atomic<int> presses_ = 0;
  int event_ = -1;
  std::mutex mutex_;
  std::map<grpc::ClientContext*, int> running_;  // And after how many; guarded by mutex_.
};

}  // namespace kvasir::cli

#endif  // KVASIR_SERVICES_CLI_INTERRUPTS_H_
