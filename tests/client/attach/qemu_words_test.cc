#include "client/attach/qemu_words.h"

#include <set>
#include <string>

#include "gtest/gtest.h"

namespace ramvol {
namespace {

TEST(QemuWordsTest, NodeNamesAreShortAndDiffer) {
  const std::string longest(62, 'a');
  std::set<std::string> names;
  for (const char* end : {"0", "1", "b"}) {
    const std::string name = QemuNodeName(longest + end);
    EXPECT_EQ(name.size(), 31);
    names.insert(name);
  }
  EXPECT_EQ(names.size(), 3);
  EXPECT_EQ(QemuNodeName("123456789012345678901234"),
            "ramvol-123456789012345678901234");
}

}  // namespace
}  // namespace ramvol
