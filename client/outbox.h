// What a pipeline decides under its lock, and does after it has unlocked.
#ifndef RAMVOL_CLIENT_OUTBOX_H_
#define RAMVOL_CLIENT_OUTBOX_H_

#include <memory>
#include <vector>

#include "client/call.h"
#include "client/call_table.h"
#include "client/io_transport.h"

namespace ramvol {

// One message to send.
struct Batch {
  std::shared_ptr<IoStream> stream;
  std::vector<Operation> operations;
  // The calls whose data the message copies. They are pinned until the message
  // is prepared.
  std::vector<std::shared_ptr<Call>> pinned;
};

// The fields are in the order in which the pipeline does them.
struct Outbox {
  bool empty() const {
    return cancels.empty() && half_closes.empty() && starts.empty() &&
           batches.empty() && completions.empty();
  }

  std::vector<std::shared_ptr<IoStream>> cancels;
  std::vector<std::shared_ptr<IoStream>> half_closes;
  std::vector<std::shared_ptr<IoStream>> starts;
  std::vector<Batch> batches;
  std::vector<Completion> completions;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_OUTBOX_H_
