#include "tests/services/hub/hub_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/hub/content_hash.h"

namespace kvasir::testing {
namespace {

// A listening socket on any free port.
int Listen(const char* host, int& port) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  inet_pton(AF_INET, host, &address.sin_addr);
  socklen_t size = sizeof address;
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      listen(listener, 64) != 0 ||
      getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    std::abort();
  }
  port = ntohs(address.sin_port);
  return listener;
}

bool SendAll(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

// A request's head; what follows it stays in `buffer`. Nothing where the connection ends.
std::optional<HubRequest> ReadRequest(int socket, std::string& buffer) {
  size_t end = 0;
  while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
    char piece[4096];
    const ssize_t got = recv(socket, piece, sizeof piece, 0);
    if (got <= 0) return std::nullopt;
    buffer.append(piece, static_cast<size_t>(got));
  }
  HubRequest request;
  const std::string head = buffer.substr(0, end + 2);
  buffer.erase(0, end + 4);
  const size_t space = head.find(' ');
  request.method = head.substr(0, space);
  request.target = head.substr(space + 1, head.find(' ', space + 1) - space - 1);
  for (size_t begin = head.find("\r\n") + 2; begin < head.size();) {
    const size_t stop = head.find("\r\n", begin), colon = head.find(':', begin);
    request.headers[absl::AsciiStrToLower(head.substr(begin, colon - begin))] =
        std::string(absl::StripAsciiWhitespace(head.substr(colon + 1, stop - colon - 1)));
    begin = stop + 2;
  }
  return request;
}

std::string Quoted(const std::string& text) { return absl::StrCat("\"", text, "\""); }

}  // namespace

HubServer::HubServer()
    : listeners_{Listen(kHubHost, hub_port_), Listen(kContentHost, content_port_)} {
  for (int i = 0; i < 2; ++i) {
    acceptors_[i] = std::thread([this, i] { Accept(listeners_[i], i == 1); });
  }
}

HubServer::~HubServer() {
  stopping_ = true;
  for (int i = 0; i < 2; ++i) {
    shutdown(listeners_[i], SHUT_RDWR);
    acceptors_[i].join();
    close(listeners_[i]);
  }
  for (const int socket : sockets_) shutdown(socket, SHUT_RDWR);
  for (std::thread& connection : connections_) connection.join();
  for (const int socket : sockets_) close(socket);
}

std::string HubServer::Address(const char* host, int port) {
  return absl::StrCat("http://", host, ":", port);
}

std::string HubServer::Commit(std::map<std::string, File> files) {
  std::map<std::string, std::string> hashes;
  std::string all;
  for (const auto& [name, file] : files) {
    const hub::ContentHash kind = {std::string(file.large ? 64 : 40, '0')};
    hub::ContentHasher hasher(kind, static_cast<int64_t>(file.content.size()));
    hasher.Update(file.content);
    hashes[name] = hasher.Finish().hex;
    absl::StrAppend(&all, name, hashes[name]);
  }
  hub::ContentHasher hasher({std::string(40, '0')}, static_cast<int64_t>(all.size()));
  hasher.Update(all);
  const std::lock_guard lock(mutex_);
  files_ = std::move(files);
  hashes_ = std::move(hashes);
  return commit_ = hasher.Finish().hex;
}

std::string HubServer::HashOf(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  return hashes_.at(name);
}

void HubServer::OnReply(Change change) {
  const std::lock_guard lock(mutex_);
  change_ = std::move(change);
}

std::vector<HubRequest> HubServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

int HubServer::Count(const std::string& method, const std::string& text) const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(std::ranges::count_if(requests_, [&](const HubRequest& request) {
    return request.method == method && request.target.find(text) != std::string::npos;
  }));
}

void HubServer::Forget() {
  const std::lock_guard lock(mutex_);
  requests_.clear();
}

void HubServer::Accept(int listener, bool is_content_server) {
  while (!stopping_) {
    const int socket = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) continue;
    const int at_once = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
    const std::lock_guard lock(mutex_);
    sockets_.push_back(socket);
    connections_.emplace_back(
        [this, socket, is_content_server] { Serve(socket, is_content_server); });
  }
}

void HubServer::Serve(int socket, bool is_content_server) {
  std::string buffer;
  while (!stopping_) {
    std::optional<HubRequest> request = ReadRequest(socket, buffer);
    if (!request.has_value()) break;
    request->to_content_server = is_content_server;
    HubReply reply;
    Change change;
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(*request);
      reply = Answer(*request);
      change = change_;
    }
    if (change) change(*request, reply);
    if (!Send(socket, *request, reply)) break;
  }
  shutdown(socket, SHUT_RDWR);
}

HubReply HubServer::Answer(const HubRequest& request) const {
  const std::string api = absl::StrCat("/api/models/", kModel);
  std::string target = request.target.substr(0, request.target.find('?'));
  if (target.starts_with("http://")) target.erase(0, target.find('/', 7));  // to a proxy
  if (target.starts_with(api + "/revision/")) {
    return {.headers = {{"Content-Type", "application/json"}}, .body = Listing()};
  }
  if (target == api + "/tree/" + commit_) {
    return {.headers = {{"Content-Type", "application/json"}}, .body = Tree()};
  }
  const std::string resolve = absl::StrCat("/", kModel, "/resolve/", commit_, "/");
  if (target.starts_with(resolve)) {
    return AnswerFile(request, target.substr(resolve.size()));
  }
  if (target.starts_with("/content/")) {
    for (const auto& [name, hash] : hashes_) {
      if (target != "/content/" + hash) continue;
      HubReply reply = {.headers = {{"ETag", "\"of the content server\""}}};
      FillBody(request, files_.at(name).content, reply);
      return reply;
    }
  }
  return {.code = 404, .headers = {{"X-Error-Code", "RepoNotFound"}}};
}

HubReply HubServer::AnswerFile(const HubRequest& request, const std::string& name) const {
  const auto file = files_.find(name);
  if (file == files_.end()) return {.code = 404, .headers = {{"X-Error-Code", "EntryNotFound"}}};
  const std::string& hash = hashes_.at(name);
  HubReply reply = {.headers = {{"X-Repo-Commit", commit_}}};
  if (file->second.large) {
    reply.code = 302;
    reply.headers["Location"] = absl::StrCat(content_server(), "/content/", hash, "?signature=x");
    reply.headers["X-Linked-Etag"] = Quoted(hash);
    reply.headers["X-Linked-Size"] = absl::StrCat(file->second.content.size());
  } else {
    reply.headers["ETag"] = Quoted(hash);
    FillBody(request, file->second.content, reply);
  }
  return reply;
}

void HubServer::FillBody(const HubRequest& request, const std::string& content,
                         HubReply& reply) const {
  std::string range = request.Header("range");
  size_t first = 0;
  if (!ranges_ || range.empty() ||
      !absl::SimpleAtoi(range.substr(6, range.find('-') - 6), &first)) {
    reply.body = content;
    return;
  }
  if (first >= content.size()) {
    reply.code = 416;
    return;
  }
  reply.code = 206;
  reply.body = content.substr(first);
  reply.headers["Content-Range"] =
      absl::StrCat("bytes ", first, "-", content.size() - 1, "/", content.size());
}

std::string HubServer::Listing() const {
  std::string siblings;
  for (const auto& [name, file] : files_) {
    absl::StrAppend(&siblings, siblings.empty() ? "" : ",", "{\"rfilename\":\"", name, "\"}");
  }
  return absl::StrCat("{\"id\":\"", kModel, "\",\"sha\":\"", commit_, "\",\"siblings\":[", siblings,
                      "]}");
}

std::string HubServer::Tree() const {
  std::string tree;
  for (const auto& [name, file] : files_) {
    const std::string lfs =
        file.large ? absl::StrFormat(R"(,"lfs":{"oid":"%s","size":%d,"pointerSize":130})",
                                     hashes_.at(name), file.content.size())
                   : "";
    absl::StrAppendFormat(&tree, R"(%s{"type":"file","path":"%s","size":%d,"oid":"%s"%s})",
                          tree.empty() ? "" : ",", name, file.content.size(),
                          hashes_.at(name).substr(0, 40), lfs);
  }
  return "[" + tree + "]";
}

bool HubServer::Send(int socket, const HubRequest& request, const HubReply& reply) {
  std::string head = absl::StrCat("HTTP/1.1 ", reply.code, " -\r\n");
  for (const auto& [name, value] : reply.headers) absl::StrAppend(&head, name, ": ", value, "\r\n");
  if (reply.chunked) {
    head += "Transfer-Encoding: chunked\r\n";
  } else if (!reply.headers.contains("Content-Length")) {
    absl::StrAppend(&head, "Content-Length: ", reply.body.size(), "\r\n");
  }
  if (!SendAll(socket, head + "\r\n")) return false;
  return request.method == "HEAD" || SendBody(socket, reply);
}

bool HubServer::SendBody(int socket, const HubReply& reply) {
  std::string_view body = reply.body;
  body = body.substr(0, reply.send_at_most);
  while (!body.empty()) {
    const std::string_view piece = body.substr(0, reply.piece);
    const bool sent =
        reply.chunked
            ? SendAll(socket, absl::StrFormat("%x\r\n%s\r\n", piece.size(),
                                              absl::string_view(piece.data(), piece.size())))
            : SendAll(socket, piece);
    if (!sent) return false;
    body.remove_prefix(piece.size());
    if (reply.pause.count() > 0) std::this_thread::sleep_for(reply.pause);
  }
  while (reply.stall && !stopping_) {
    pollfd closed = {socket, POLLRDHUP, 0};
    if (poll(&closed, 1, 20) > 0) return false;
  }
  if (reply.send_at_most != std::string::npos) return false;
  return !reply.chunked || SendAll(socket, "0\r\n\r\n");
}

}  // namespace kvasir::testing
