#ifndef KVASIR_SERVICES_HUB_PUBLIC_ADDRESS_H_
#define KVASIR_SERVICES_HUB_PUBLIC_ADDRESS_H_

#include <sys/socket.h>

#include <string>

namespace kvasir::hub {

// Whether an address is one of the public internet: neither this machine, nor a network of the
// house or the provider, nor a group, nor kept for other uses (the registries of RFC 6890). IPv4
// inside IPv6 (mapped, NAT64, 6to4) counts as what it leads to.
bool IsPublicAddress(const sockaddr& address);

// "10.0.0.1", "::1".
std::string AddressText(const sockaddr& address);

}  // namespace kvasir::hub

#endif  // KVASIR_SERVICES_HUB_PUBLIC_ADDRESS_H_
