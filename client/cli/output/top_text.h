// `ramvol top` as text.
#ifndef RAMVOL_CLIENT_CLI_OUTPUT_TOP_TEXT_H_
#define RAMVOL_CLIENT_CLI_OUTPUT_TOP_TEXT_H_

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "client/cli/cli_context.h"
#include "client/cli/output/top_sample.h"
#include "ramvol/output/v1/output.pb.h"

namespace ramvol::cli {

// What the volumes are sorted by. The largest value comes first. Names are in
// alphabetical order.
enum class TopOrder { kOperations, kBytes, kLatency, kMemory, kRatio, kName };

// The words for --sort, in the order of the enum. A word's first letter is its
// key on the screen.
inline constexpr std::array<const char*, 6> kTopOrders = {
    "iops", "throughput", "latency", "memory", "ratio", "name"};

// The order that this key selects: 'i' for iops.
std::optional<TopOrder> TopOrderOfKey(char key);

// Volumes with equal values are in the order of their names.
void SortTopLines(TopOrder order, std::vector<TopLine>* lines);

// Six lines about the server, an empty line, and a table of the volumes. With
// `size`, the text fits into the screen: columns are left out from the right,
// volumes from the bottom, and the last line tells how many. Without `size`,
// the text is complete. `address` is the server's address as the user gave it.
std::string TopText(const TopView& view, const std::string& address,
                    std::optional<TerminalSize> size);

// The same for scripts.
output::v1::TopOutput TopMessage(const TopView& view);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_OUTPUT_TOP_TEXT_H_
