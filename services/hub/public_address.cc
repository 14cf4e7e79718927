#include "services/hub/public_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>

namespace kvasir::hub {
namespace {

struct Network4 {
  uint32_t address;
  int bits;
};

// What is no destination for everybody.
constexpr Network4 kReserved4[] = {
    {0x00000000, 8},   // this network
    {0x0a000000, 8},   // private
    {0x64400000, 10},  // shared by a provider's customers
    {0x7f000000, 8},   // this machine
    {0xa9fe0000, 16},  // this link; clouds keep their metadata there
    {0xac100000, 12},  // private
    {0xc0000000, 24},  // protocol assignments
    {0xc0000200, 24},  // documentation
    {0xc0586300, 24},  // 6to4 relays
    {0xc0a80000, 16},  // private
    {0xc6120000, 15},  // benchmarks
    {0xc6336400, 24},  // documentation
    {0xcb007100, 24},  // documentation
    {0xe0000000, 4},   // groups
    {0xf0000000, 4},   // reserved, broadcast
};

bool IsPublic4(uint32_t address) {
  return std::ranges::none_of(kReserved4, [&](const Network4& network) {
    return ((address ^ network.address) >> (32 - network.bits)) == 0;
  });
}

using Bytes6 = std::array<uint8_t, 16>;

bool StartsWith(const Bytes6& address, std::initializer_list<uint8_t> prefix) {
  return std::equal(prefix.begin(), prefix.end(), address.begin());
}

uint32_t Embedded4(const Bytes6& address, int at) {
  return uint32_t{address[at]} << 24 | uint32_t{address[at + 1]} << 16 |
         uint32_t{address[at + 2]} << 8 | uint32_t{address[at + 3]};
}

bool IsPublic6(const Bytes6& address) {
  if (StartsWith(address, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff})) {
    return IsPublic4(Embedded4(address, 12));  // IPv4-mapped
  }
  if (StartsWith(address, {0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0})) {
    return IsPublic4(Embedded4(address, 12));  // NAT64
  }
  if (StartsWith(address, {0x20, 0x02})) return IsPublic4(Embedded4(address, 2));  // 6to4
  const bool protocols = StartsWith(address, {0x20, 0x01}) && address[2] < 2;      // 2001::/23
  const bool documentation = StartsWith(address, {0x20, 0x01, 0x0d, 0xb8}) ||
                             (StartsWith(address, {0x3f, 0xff}) && address[2] < 0x10);
  return (address[0] & 0xe0) == 0x20 && !protocols && !documentation;  // 2000::/3
}

}  // namespace

bool IsPublicAddress(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    sockaddr_in in;
    std::memcpy(&in, &address, sizeof in);
    return IsPublic4(ntohl(in.sin_addr.s_addr));
  }
  if (address.sa_family == AF_INET6) {
    sockaddr_in6 in6;
    std::memcpy(&in6, &address, sizeof in6);
    Bytes6 bytes;
    std::memcpy(bytes.data(), &in6.sin6_addr, sizeof bytes);
    return IsPublic6(bytes);
  }
  return false;
}

std::string AddressText(const sockaddr& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.sa_family == AF_INET) {
    sockaddr_in in;
    std::memcpy(&in, &address, sizeof in);
    inet_ntop(AF_INET, &in.sin_addr, text, sizeof text);
  } else if (address.sa_family == AF_INET6) {
    sockaddr_in6 in6;
    std::memcpy(&in6, &address, sizeof in6);
    inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof text);
  }
  return text;
}

}  // namespace kvasir::hub
