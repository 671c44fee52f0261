// Access for tests of services: everyone may do everything.
#ifndef RAMVOL_TESTS_SERVER_SERVICE_OPEN_ACCESS_H_
#define RAMVOL_TESTS_SERVER_SERVICE_OPEN_ACCESS_H_

#include <memory>

#include "server/access/authority.h"
#include "server/access/sessions.h"
#include "server/engine/engine.h"
#include "server/service/call_access.h"
#include "server/service/catalog.h"

namespace ramvol::service {

// As a server without a policy. Borrows both.
class OpenAccess {
 public:
  OpenAccess(engine::Engine* engine, const Catalog* catalog)
      : access_(PartsOf(engine, catalog)) {}

  const CallAccess* get() const { return &access_; }

 private:
  CallAccess::Parts PartsOf(engine::Engine* engine, const Catalog* catalog) {
    CallAccess::Parts parts;
    parts.authority = authority_.get();
    parts.sessions = &sessions_;
    parts.engine = engine;
    parts.catalog = catalog;
    return parts;
  }

  const std::unique_ptr<access::Authority> authority_ =
      *access::Authority::Make("", "");
  access::Sessions sessions_;
  const CallAccess access_;
};

}  // namespace ramvol::service

#endif  // RAMVOL_TESTS_SERVER_SERVICE_OPEN_ACCESS_H_
