// Errors of the server and of libraries in words of the command line.
#ifndef RAMVOL_CLIENT_CLI_WORDING_H_
#define RAMVOL_CLIENT_CLI_WORDING_H_

#include <string>
#include <string_view>
#include <vector>

namespace ramvol::cli {

// Replaces the API's names in `message` by those of commands and flags:
// "zstd_level is 99" becomes "--level is 99". Quoted text stays as it is.
std::string InWordsOfCommandLine(std::string_view message);

// Tells why no server answers at `server`, and what to do. `message` is gRPC's.
// Its known parts are told in plain words, the rest is left out.
std::string UnreachableText(std::string_view message,
                            const std::string& server);

// The one of `words` that `word` probably means. "" when none is similar.
std::string Nearest(std::string_view word,
                    const std::vector<std::string>& words);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_WORDING_H_
