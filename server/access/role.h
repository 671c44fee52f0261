// What one may be on a volume, and what operations need.
#ifndef RAMVOL_SERVER_ACCESS_ROLE_H_
#define RAMVOL_SERVER_ACCESS_ROLE_H_

#include <cstdint>
#include <string_view>

namespace ramvol::access {

// Each may also do what those before it may. docs/access.md says what.
enum class Role : uint8_t { kNone, kViewer, kReader, kWriter, kOwner, kAdmin };

// What an operation needs.
enum class Right : uint8_t {
  kNothing,  // Of anyone, even strangers.
  kEnter,    // Of those who have some role on something.
  kView,
  kRead,
  kWrite,
  kSnapshot,
  kCreate,
  kUpdate,
  kDelete,
  kRevert,
  kServer,  // Of the server itself.
};

// kNone for kNothing and kEnter.
constexpr Role RoleFor(Right right) {
  switch (right) {
    case Right::kNothing:
    case Right::kEnter:
      return Role::kNone;
    case Right::kView:
      return Role::kViewer;
    case Right::kRead:
      return Role::kReader;
    case Right::kWrite:
    case Right::kSnapshot:
      return Role::kWriter;
    case Right::kCreate:
    case Right::kUpdate:
    case Right::kDelete:
    case Right::kRevert:
      return Role::kOwner;
    case Right::kServer:
      return Role::kAdmin;
  }
  return Role::kAdmin;
}

// "viewer"; "none".
constexpr std::string_view NameOf(Role role) {
  switch (role) {
    case Role::kNone:
      return "none";
    case Role::kViewer:
      return "viewer";
    case Role::kReader:
      return "reader";
    case Role::kWriter:
      return "writer";
    case Role::kOwner:
      return "owner";
    case Role::kAdmin:
      return "admin";
  }
  return "none";
}

// For people: "write to".
constexpr std::string_view WordsFor(Right right) {
  switch (right) {
    case Right::kNothing:
      return "call";
    case Right::kEnter:
      return "ask";
    case Right::kView:
      return "see";
    case Right::kRead:
      return "read";
    case Right::kWrite:
      return "write to";
    case Right::kSnapshot:
      return "take snapshots of";
    case Right::kCreate:
      return "create";
    case Right::kUpdate:
      return "change";
    case Right::kDelete:
      return "delete";
    case Right::kRevert:
      return "revert";
    case Right::kServer:
      return "administer";
  }
  return "use";
}

}  // namespace ramvol::access

#endif  // RAMVOL_SERVER_ACCESS_ROLE_H_
