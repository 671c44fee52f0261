// The files of the status page, embedded in the program.
#ifndef RAMVOL_SERVER_STATUS_PAGE_FILES_H_
#define RAMVOL_SERVER_STATUS_PAGE_FILES_H_

#include <array>
#include <string_view>

namespace ramvol::status {

struct PageFile {
  std::string_view path;  // "/page/main.js"
  std::string_view type;
  std::string_view content;
};

// embed.sh generates the definition.
extern const std::array<PageFile, 7> kPageFiles;

}  // namespace ramvol::status

#endif  // RAMVOL_SERVER_STATUS_PAGE_FILES_H_
