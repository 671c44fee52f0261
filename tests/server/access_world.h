// A server with a policy, and clients of every role, for tests.
#ifndef RAMVOL_TESTS_SERVER_ACCESS_WORLD_H_
#define RAMVOL_TESTS_SERVER_ACCESS_WORLD_H_

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/token.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/client_callback.h"
#include "grpcpp/support/sync_stream.h"
#include "gtest/gtest.h"
#include "nbd_bridge/nbd_address.h"
#include "proto/status.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_server.h"

namespace ramvol::testing {

// The roles, lowest first, by their index as access::Role. "none" may do
// everything with "own-*", and nothing with "t-*".
inline constexpr const char* kRoles[] = {"none",   "viewer", "reader",
                                         "writer", "owner",  "admin"};

// Tokens are called and spelled like the roles, and NBD's sockets end with
// them. All roles are on "t-*"; everyone but strangers owns "own-*".
class AccessWorld {
 public:
  AccessWorld() {
    WritePolicy(Policy());
    std::string tokens;
    for (const char* role : kRoles) {
      absl::StrAppend(&tokens, role, ":sha256:", HexOf(DigestOf(role)), "\n");
    }
    WriteTokens(tokens + absl::StrCat("stranger:sha256:",
                                      HexOf(DigestOf("stranger")), "\n"));
    auto options = TestServerOptions();
    options.auth_policy = policy_path();
    options.token_file = token_path();
    options.audit_log = audit_path();
    std::string nbd;
    for (const char* role : kRoles) {
      absl::StrAppend(&nbd, nbd.empty() ? "" : ",", "unix:", NbdPath(role));
    }
    absl::StrAppend(&nbd, ",unix:", NbdPath("stranger"));
    options.nbd.listen = *nbd::ParseNbdAddresses(nbd);
    options.listen.push_back(
        {.host = "", .port = 0, .unix_path = dir_.path() + "/grpc"});
    server_ = std::make_unique<TestServer>(options);
  }

  static std::string Policy() {
    std::string policy;
    const char* const names[] = {"", "VIEWER", "READER", "WRITER", "OWNER"};
    for (int i = 0; i < 5; ++i) {
      const std::string who =
          absl::StrCat("identities: \"token:", kRoles[i],
                       "\" identities: \"socket:*/", kRoles[i], "\" ");
      absl::StrAppend(&policy, "grants { ", who,
                      "volumes: \"own-*\" role: ROLE_OWNER }\n");
      if (i == 0) continue;
      absl::StrAppend(&policy, "grants { ", who, "volumes: \"t-*\" role: ROLE_",
                      names[i], " }\n");
    }
    return policy +
           "grants { identities: \"token:admin\" identities: "
           "\"socket:*/admin\" role: ROLE_ADMIN }\n";
  }

  std::string policy_path() const { return dir_.path() + "/policy"; }
  std::string token_path() const { return dir_.path() + "/tokens"; }
  std::string audit_path() const { return dir_.path() + "/audit"; }
  std::string NbdPath(const std::string& role) const {
    return absl::StrCat(dir_.path(), "/", role);
  }
  std::string GrpcUnixAddress() const {
    return "unix:" + dir_.path() + "/grpc";
  }
  TestServer& server() { return *server_; }

  void WritePolicy(const std::string& text) const {
    Replace(policy_path(), text);
  }
  void WriteTokens(const std::string& text) const {
    Replace(token_path(), text);
  }

  static void SetToken(grpc::ClientContext& context, const std::string& token) {
    if (!token.empty()) {
      context.AddMetadata("authorization", "Bearer " + token);
    }
  }

  // Calls any method with one message, and gives its status and its answers.
  grpc::Status Call(const std::string& method, const std::string& token,
                    const google::protobuf::Message& request,
                    std::vector<std::string>* answers = nullptr) {
    grpc::ClientContext context;
    SetToken(context, token);
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::minutes(2));
    const grpc::internal::RpcMethod rpc(
        method.c_str(), grpc::internal::RpcMethod::BIDI_STREAMING);
    std::unique_ptr<
        grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>>
        call(grpc::internal::ClientReaderWriterFactory<
             grpc::ByteBuffer, grpc::ByteBuffer>::Create(server_->channel()
                                                             .get(),
                                                         rpc, &context));
    const grpc::Slice slice(request.SerializeAsString());
    call->Write(grpc::ByteBuffer(&slice, 1));
    call->WritesDone();
    grpc::ByteBuffer answer;
    while (call->Read(&answer)) {
      if (answers == nullptr) continue;
      std::vector<grpc::Slice> parts;
      (void)answer.Dump(&parts);
      std::string& text = answers->emplace_back();
      for (const grpc::Slice& part : parts) {
        text.append(reinterpret_cast<const char*>(part.begin()), part.size());
      }
    }
    return call->Finish();
  }
  template <typename Response>
  Response AskAs(const std::string& token, const std::string& method,
                 const google::protobuf::Message& request) {
    std::vector<std::string> answers;
    const grpc::Status status = Call(method, token, request, &answers);
    EXPECT_TRUE(status.ok()) << method << ": " << status.error_message();
    Response response;
    if (!answers.empty()) response.ParseFromString(answers[0]);
    return response;
  }

 private:
  static void Replace(const std::string& path, const std::string& text) {
    std::ofstream(path + ".new") << text;
    std::filesystem::rename(path + ".new", path);
  }

  const TempDir dir_ = TempDir::ForSockets();
  std::unique_ptr<TestServer> server_;
};

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_SERVER_ACCESS_WORLD_H_
