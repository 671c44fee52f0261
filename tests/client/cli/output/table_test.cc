#include "client/cli/output/table.h"

#include <string>

#include "gtest/gtest.h"

namespace ramvol::cli {
namespace {

TEST(TableTest, AlignsColumnsAndLeavesNoTrailingSpaces) {
  Table table({{"NAME"}, {"SIZE", Align::kRight}, {"LABELS"}});
  table.AddRow({"scratch", "10 GiB", ""});
  table.AddRow({"a", "512 B", "team=x"});
  EXPECT_EQ(table.Render(),
            "NAME       SIZE  LABELS\n"
            "scratch  10 GiB\n"
            "a         512 B  team=x\n");
}

TEST(TableTest, OnlyTitlesWithoutRows) {
  EXPECT_EQ(Table({{"A"}, {"B", Align::kRight}}).Render(), "A  B\n");
}

TEST(FieldsTest, PutsValuesUnderEachOther) {
  Fields fields;
  fields.Add("Name", "scratch");
  fields.Add("Memory limit", "none");
  fields.Continue("more");
  EXPECT_EQ(fields.Render(),
            "Name:          scratch\n"
            "Memory limit:  none\n"
            "               more\n");
}

}  // namespace
}  // namespace ramvol::cli
