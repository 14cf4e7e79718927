#ifndef KVASIR_TESTS_SERVICES_CUTTABLE_LINK_H_
#define KVASIR_TESTS_SERVICES_CUTTABLE_LINK_H_

#include <string>
#include <thread>

namespace kvasir::testing {

// A way to a server on this host that can be cut, as when the client's machine dies: the server
// sees its connection reset. Carries one connection.
class CuttableLink {
 public:
  explicit CuttableLink(const std::string& server_address);
  ~CuttableLink();
  CuttableLink(const CuttableLink&) = delete;
  CuttableLink& operator=(const CuttableLink&) = delete;

  // Where the client connects to.
  const std::string& address() const { return address_; }
  // Thread-safe.
  void Cut();

 private:
  void Carry(int server_port);

  int listener_ = -1;
  int cut_[2] = {-1, -1};  // a pipe: readable once it is cut
  std::string address_;
  std::thread thread_;
};

}  // namespace kvasir::testing

#endif  // KVASIR_TESTS_SERVICES_CUTTABLE_LINK_H_
