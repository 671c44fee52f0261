// Events as text for people.
#ifndef RAMVOL_CLIENT_CLI_OUTPUT_EVENT_TEXT_H_
#define RAMVOL_CLIENT_CLI_OUTPUT_EVENT_TEXT_H_

#include <string>

#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {

// A line: time (UTC), event, volume and what else there is.
std::string EventText(const v1::Event& event);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_OUTPUT_EVENT_TEXT_H_
