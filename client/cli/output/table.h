// Plain text in aligned columns.
#ifndef RAMVOL_CLIENT_CLI_OUTPUT_TABLE_H_
#define RAMVOL_CLIENT_CLI_OUTPUT_TABLE_H_

#include <string>
#include <utility>
#include <vector>

namespace ramvol::cli {

enum class Align { kLeft, kRight };

// Columns are as wide as their widest cell, and two spaces apart. Lines have no
// trailing spaces.
class Table {
 public:
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns);

  // `cells` has one entry for each column.
  void AddRow(std::vector<std::string> cells);
  // The title line and all rows, each with a newline at its end.
  std::string Render() const;

 private:
  const std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// "Label:  value" lines, with the values under each other.
class Fields {
 public:
  void Add(const std::string& label, const std::string& value);
  // Adds a line to the value above.
  void Continue(const std::string& value);
  std::string Render() const;

 private:
  std::vector<std::pair<std::string, std::string>> lines_;
};

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_OUTPUT_TABLE_H_
