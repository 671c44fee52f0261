// How a Client proves itself to a server, and the server to it.
#ifndef RAMVOL_CLIENT_CHANNEL_CREDENTIALS_H_
#define RAMVOL_CLIENT_CHANNEL_CREDENTIALS_H_

#include <memory>

#include "client/options.h"
#include "grpcpp/security/credentials.h"

namespace ramvol {

// Without TLS for Unix sockets and when `options.tls_ca` is empty. Certificates
// and the token are read again when their files change. `options` are as
// CheckCredentials wants them.
std::shared_ptr<grpc::ChannelCredentials> NewChannelCredentials(
    const ClientOptions& options);

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_CHANNEL_CREDENTIALS_H_
