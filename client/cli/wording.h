// Errors of the server and of libraries in words of the command line.
#ifndef RAMVOL_CLIENT_CLI_WORDING_H_
#define RAMVOL_CLIENT_CLI_WORDING_H_

#include <string>
#include <string_view>
#include <vector>

namespace ramvol::cli {

// `message` with the names of commands and flags in place of those of the API:
// "zstd_level is 99" becomes "--level is 99". What is quoted stays as it is.
std::string InWordsOfCommandLine(std::string_view message);

// Why no server answers at `server`, and what to do. `message` is gRPC's; what
// is known of it is told in plain words, the rest is left out.
std::string UnreachableText(std::string_view message,
                            const std::string& server);

// The one of `words` that was probably meant by `word`; "" when none is alike.
std::string Nearest(std::string_view word,
                    const std::vector<std::string>& words);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_WORDING_H_
