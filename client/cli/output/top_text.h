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

// What the volumes are sorted by, the most first; names in their order.
enum class TopOrder { kOperations, kBytes, kLatency, kMemory, kRatio, kName };

// The words for --sort, in the order of the enum; a word's first letter is the
// key on the screen.
inline constexpr std::array<const char*, 6> kTopOrders = {
    "iops", "throughput", "latency", "memory", "ratio", "name"};

// The order with this key, 'i' for iops.
std::optional<TopOrder> TopOrderOfKey(char key);

// Volumes that are equal are in order of names.
void SortTopLines(TopOrder order, std::vector<TopLine>* lines);

// The server in six lines, an empty one, a table of the volumes. With `size`
// it fits into that: columns that have no room are left out from the right,
// lines from the bottom, which the last line then tells. Without, all is there.
// `address` is what the user calls the server.
std::string TopText(const TopView& view, const std::string& address,
                    std::optional<TerminalSize> size);

// The same for scripts.
output::v1::TopOutput TopMessage(const TopView& view);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_OUTPUT_TOP_TEXT_H_
