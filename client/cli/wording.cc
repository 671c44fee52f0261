#include "client/cli/wording.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace ramvol::cli {
namespace {

using Words = std::vector<std::pair<absl::string_view, absl::string_view>>;

// The server's advice, in terms of commands. These are whole phrases, because
// single words of them occur elsewhere, too.
const Words& Phrases() {
  static const auto* const phrases = new Words{
      {"ListVolumes shows those that there are",
       "\"ramvol ls\" lists those that there are"},
      {"ListSnapshots shows those that there are",
       "\"ramvol snapshot ls\" lists those that there are"},
      {"create it, or list the snapshots there are",
       "\"ramvol snapshot ls\" lists those that there are"},
      {"delete it by DeleteSnapshot", "delete it by \"ramvol snapshot rm\""},
      {"create it, or list the volumes there are",
       "\"ramvol ls\" lists those that there are"},
      {"set read_only to false to change it",
       "\"ramvol set --read-only=false\" lets it be changed"},
      {"raise memory_limit_bytes",
       "raise its limit by \"ramvol set --memory-limit\""},
      {"resize the volume", "enlarge the volume by \"ramvol resize\""},
      {"detach first, or force it", "detach first, or give --force"},
      {"raise --memory_limit", "raise ramvold's --memory_limit"},
      {"raise --max_volumes", "raise ramvold's --max_volumes"},
      {"restore it under another name, and delete it",
       "restore it under another name, and delete it by \"ramvol rm\""},
      {"use ZSTD or SPARSE", "give --allocator=zstd or sparse"},
      {"give each request an id of its own", "try again"},
  };
  return *phrases;
}

// Names of the API, and their names here.
const Words& Names() {
  static const auto* const names = new Words{
      {"size_bytes", "SIZE"},
      {"zstd_level", "--level"},
      {"merge_zstd_level", "--merge-level"},
      {"write_level", "--level"},
      {"merge_level", "--merge-level"},
      {"min_frame_bytes", "--min-frame"},
      {"max_frame_bytes", "--max-frame"},
      {"memory_limit_bytes", "--memory-limit"},
      {"iops_total_max", "--iops-total-max"},
      {"iops_total", "--iops-total"},
      {"bps_total_max", "--bps-total-max"},
      {"bps_total", "--bps-total"},
      {"read_only", "--read-only"},
      {"if_unattached", "--force"},
      {"update_mask", "the change"},
      {"new_name", "NEW-NAME"},
      {"ttl", "--ttl"},
      {"ALLOCATOR_ZSTD", "zstd"},
      {"ALLOCATOR_SPARSE", "sparse"},
      {"ALLOCATOR_MALLOC", "malloc"},
  };
  return *names;
}

bool IsWordByte(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' ||
         c == '-';
}

absl::string_view CommandLineName(absl::string_view name) {
  for (const auto& [ours, theirs] : Names()) {
    if (name == ours) return theirs;
  }
  return name;
}

// Rewords text that is not quoted.
std::string ReplaceNames(absl::string_view text) {
  std::string out;
  while (!text.empty()) {
    size_t length = 0;
    while (length < text.size() && IsWordByte(text[length])) ++length;
    absl::string_view word = text.substr(0, length);
    if (word == "volume" && absl::StartsWith(text.substr(length), ".") &&
        length + 1 < text.size() && IsWordByte(text[length + 1])) {
      text.remove_prefix(length + 1);  // "volume.size_bytes" of an update.
      continue;
    }
    absl::StrAppend(&out, CommandLineName(word));
    text.remove_prefix(length);
    if (!text.empty()) {
      out += text[0];
      text.remove_prefix(1);
    }
  }
  return out;
}

// The position of the first of gRPC's own phrases. npos when there is none.
size_t FindLibraryWords(absl::string_view message) {
  static constexpr absl::string_view kMarks[] = {
      "failed to connect to all addresses",
      "DNS resolution failed",
      "Socket closed",
      "Connection reset by peer",
      "Broken pipe",
      "recvmsg:",
      "GOAWAY",
      "UNKNOWN:",
      "Stream removed",
      "keepalive",
      "Too many pings",
      "C-ares"};
  size_t first = absl::string_view::npos;
  for (const absl::string_view mark : kMarks) {
    first = std::min(first, message.find(mark));
  }
  return first;
}

// The meaning of gRPC's phrases.
absl::string_view Cause(absl::string_view words) {
  static constexpr std::pair<absl::string_view, absl::string_view> kCauses[] = {
      {"Connection refused", "nothing listens there"},
      {"No such file or directory", "there is no such socket"},
      {"Permission denied", "this user may not open the socket"},
      {"Name or service not known", "the name is unknown"},
      {"Domain name not found", "the name is unknown"},
      {"DNS resolution failed", "the name cannot be looked up"},
      {"No route to host", "there is no route to it"},
      {"etwork is unreachable", "the network is unreachable"},
      {"imed out", "it does not answer"},
      {"imeout", "it does not answer"},
      {"failed to connect", "it cannot be connected to"}};
  for (const auto& [words_of_library, cause] : kCauses) {
    if (absl::StrContains(words, words_of_library)) return cause;
  }
  return "the connection broke";
}

bool IsOfThisMachine(absl::string_view server) {
  return absl::StartsWith(server, "unix:") ||
         absl::StartsWith(server, "127.") ||
         absl::StartsWith(server, "localhost:") ||
         absl::StartsWith(server, "[::1]:");
}

// The number of insertions, deletions, replacements and swaps of neighbours
// that turn `a` into `b`.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1);
  std::vector<size_t> last(b.size() + 1);
  std::vector<size_t> row(b.size() + 1);
  std::iota(last.begin(), last.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, replaced});
      const bool swapped =
          i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

}  // namespace

std::string InWordsOfCommandLine(std::string_view message) {
  const std::string phrased = absl::StrReplaceAll(
      absl::string_view(message.data(), message.size()), Phrases());
  std::string out;
  absl::string_view rest = phrased;
  while (!rest.empty()) {
    const size_t open = std::min(rest.find('"'), rest.size());
    absl::StrAppend(&out, ReplaceNames(rest.substr(0, open)));
    rest.remove_prefix(open);
    if (rest.empty()) break;
    const size_t close = rest.find('"', 1);
    const size_t quoted =
        close == absl::string_view::npos ? rest.size() : close + 1;
    absl::StrAppend(&out, rest.substr(0, quoted));
    rest.remove_prefix(quoted);
  }
  return out;
}

std::string UnreachableText(std::string_view message,
                            const std::string& server) {
  absl::string_view ours(message.data(), message.size());
  const size_t theirs = FindLibraryWords(ours);
  std::string cause;
  if (theirs != absl::string_view::npos) {
    cause = absl::StrCat(": ", Cause(ours.substr(theirs)));
    ours = ours.substr(0, theirs);
  }
  ours = absl::StripSuffix(absl::StripAsciiWhitespace(ours), ":");
  const std::string text =
      ours.empty()
          ? absl::StrCat("no server answers at ", server, cause)
          : absl::StrCat("no server answers at ", server, ": ", ours, cause);
  return absl::StrCat(
      text,
      IsOfThisMachine(server)
          ? absl::StrCat("; start one with \"ramvold --listen=", server,
                         "\", or name another")
          : "; check the address and the network, or name another server",
      " with --server or RAMVOL_SERVER");
}

std::string Nearest(std::string_view word,
                    const std::vector<std::string>& words) {
  // With more changes, any short word would become any other.
  size_t least =
      std::min(std::max<size_t>(word.size() / 3, 1) + 1, word.size());
  std::string nearest;
  for (const std::string& candidate : words) {
    const bool begun = word.size() >= 2 && candidate.rfind(word, 0) == 0;
    const size_t distance = begun ? 1 : EditDistance(word, candidate);
    if (distance < least) {
      least = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace ramvol::cli
