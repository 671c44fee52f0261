// Which rights each call needs, on what.
#ifndef RAMVOL_SERVER_SERVICE_RPC_RULES_H_
#define RAMVOL_SERVER_SERVICE_RPC_RULES_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "server/access/role.h"

namespace ramvol::service {

// What a field of a request names.
enum class Names : uint8_t {
  kVolume,       // A volume, or "@" and a snapshot.
  kSnapshot,     // A snapshot, with or without "@".
  kSince,        // "@" and a snapshot, or a snapshot's uid.
  kNewVolume,    // A volume to be made, whose labels are beside the name.
  kNewName,      // Another name for the volume that `name` names.
  kNewSnapshot,  // A snapshot to be made, likewise; "" is of `volume`.
};

// Whose words a call uses for what is not there.
enum class Absent : uint8_t { kCatalog, kEngine };

struct Need {
  // Fields of messages with dots between them. All of repeated ones count.
  const char* path;
  access::Right right;
  Names names;
  Absent absent = Absent::kCatalog;
  // The key of the name in the error's metadata, where the engine's words are
  // used.
  const char* key = "volume";
};

struct RpcRule {
  const char* method;  // "ramvol.v1.VolumeService.GetVolume".
  // Needed whatever the request names.
  access::Right right;
  // Of what the request names. Empty names need nothing: no call takes them.
  std::vector<Need> needs;
  // Whether it is written to the audit log when it succeeds, too.
  bool audited = false;
};

// All calls of this server's own services. A test holds it to the protos.
absl::Span<const RpcRule> RpcRules();

// What a request names, in the order of the rule.
struct Named {
  const Need* need;
  std::string name;
  // The message that the name is in.
  const google::protobuf::Message* in;
};

// Finds rules by the requests that they are of; no two calls have one type.
class RpcRuleSet {
 public:
  // One for the process.
  static const RpcRuleSet& Get();

  // Null for messages that are no requests.
  const RpcRule* Find(const google::protobuf::Descriptor* request) const;
  static std::vector<Named> NamedBy(const RpcRule& rule,
                                    const google::protobuf::Message& request);

 private:
  RpcRuleSet();

  absl::flat_hash_map<const google::protobuf::Descriptor*, const RpcRule*>
      rules_;
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_RPC_RULES_H_
