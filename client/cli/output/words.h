// Numbers with their nouns and units.
#ifndef RAMVOL_CLIENT_CLI_OUTPUT_WORDS_H_
#define RAMVOL_CLIENT_CLI_OUTPUT_WORDS_H_

#include <cstdint>
#include <string>

namespace ramvol::cli {

// "1 client", "2 clients". `plural` is for nouns that do not just take an "s".
std::string CountOf(int64_t count, const std::string& noun,
                    const std::string& plural = "");

// A time with at most three digits: "0.4 us", "120 us", "13.6 ms", "2.0 s". "-"
// for 0: nothing was measured.
std::string LatencyText(double microseconds);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_OUTPUT_WORDS_H_
