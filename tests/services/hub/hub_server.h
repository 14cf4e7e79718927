#ifndef KVASIR_TESTS_SERVICES_HUB_HUB_SERVER_H_
#define KVASIR_TESTS_SERVICES_HUB_HUB_SERVER_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace kvasir::testing {

struct HubRequest {
  std::string method, target;
  std::map<std::string, std::string> headers;  // by lower-case name
  bool to_content_server = false;

  std::string Header(const std::string& name) const {
    const auto header = headers.find(name);
    return header == headers.end() ? "" : header->second;
  }
};

// An answer, and how it fails.
struct HubReply {
  int code = 200;
  std::map<std::string, std::string> headers;  // Content-Length is the body's where it is not here
  std::string body;

  size_t send_at_most = std::string::npos;  // of the body; then the connection ends
  bool stall = false;                       // then, in place of that, nothing comes any more
  bool chunked = false;                     // without a length
  size_t piece = std::string::npos;         // the body comes in such pieces,
  std::chrono::milliseconds pause{0};       // so long after each other
};

// A hub as huggingface.co is one, for the model Acme/Small, on two loopback addresses: the hub
// itself and, as another host, the server that it redirects to for large files.
class HubServer {
 public:
  static constexpr char kModel[] = "Acme/Small";
  static constexpr char kHubHost[] = "127.0.0.1", kContentHost[] = "127.0.0.2";

  HubServer();
  ~HubServer();
  HubServer(const HubServer&) = delete;
  HubServer& operator=(const HubServer&) = delete;

  std::string endpoint() const { return Address(kHubHost, hub_port_); }
  std::string content_server() const { return Address(kContentHost, content_port_); }

  // The model's files from now on, at a commit of their own, which is returned: a large one is
  // served by the content server.
  struct File {
    std::string content;
    bool large = false;
  };
  std::string Commit(std::map<std::string, File> files);
  // The hash of one of them, as the hub's ETag has it.
  std::string HashOf(const std::string& name) const;

  // Called before each answer, which it may change; by several threads at once.
  using Change = std::function<void(const HubRequest&, HubReply&)>;
  void OnReply(Change change);
  // Whether parts can be asked for.
  void set_ranges(bool ranges) { ranges_ = ranges; }

  std::vector<HubRequest> requests() const;
  // How many had this method and this text in their target.
  int Count(const std::string& method, const std::string& text) const;
  void Forget();

 private:
  static std::string Address(const char* host, int port);

  void Accept(int listener, bool is_content_server);
  void Serve(int socket, bool is_content_server);
  HubReply Answer(const HubRequest& request) const;
  HubReply AnswerFile(const HubRequest& request, const std::string& name) const;
  // The content, or the part that was asked for.
  void FillBody(const HubRequest& request, const std::string& content, HubReply& reply) const;
  std::string Listing() const;
  std::string Tree() const;
  // Whether the connection may go on.
  bool Send(int socket, const HubRequest& request, const HubReply& reply);
  bool SendBody(int socket, const HubReply& reply);

  mutable std::mutex mutex_;
  std::map<std::string, File> files_;  // guarded by mutex_, as all that follows
  std::map<std::string, std::string> hashes_;
  std::string commit_;
  Change change_;
  std::vector<HubRequest> requests_;
  std::vector<std::thread> connections_;
  std::vector<int> sockets_;

  std::atomic<bool> ranges_ = true, stopping_ = false;
  int hub_port_ = 0, content_port_ = 0;
  int listeners_[2];
  std::thread acceptors_[2];
};

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_SERVICES_HUB_HUB_SERVER_H_
