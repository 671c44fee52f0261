#include "client/cli/output/table.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/printable.h"

namespace ramvol::cli {
namespace {

std::string Pad(const std::string& cell, size_t width, Align align) {
  const std::string spaces(width - std::min(width, cell.size()), ' ');
  return align == Align::kLeft ? cell + spaces : spaces + cell;
}

std::string StripRight(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

}  // namespace

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

void Table::AddRow(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  for (std::string& cell : cells) cell = Printable(cell);
  rows_.push_back(std::move(cells));
}

std::string Table::Render() const {
  std::vector<std::string> titles;
  for (const Column& column : columns_) titles.push_back(column.title);
  std::vector<size_t> widths(columns_.size(), 0);
  auto measure = [&widths](const std::vector<std::string>& row) {
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  };
  measure(titles);
  for (const auto& row : rows_) measure(row);

  std::string text;
  auto append = [&](const std::vector<std::string>& row) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      if (i > 0) line += "  ";
      line += Pad(row[i], widths[i], columns_[i].align);
    }
    absl::StrAppend(&text, StripRight(std::move(line)), "\n");
  };
  append(titles);
  for (const auto& row : rows_) append(row);
  return text;
}

void Fields::Add(const std::string& label, const std::string& value) {
  lines_.emplace_back(absl::StrCat(label, ":"), Printable(value));
}

void Fields::Continue(const std::string& value) {
  lines_.emplace_back("", Printable(value));
}

std::string Fields::Render() const {
  size_t width = 0;
  for (const auto& line : lines_) width = std::max(width, line.first.size());
  std::string text;
  for (const auto& [label, value] : lines_) {
    absl::StrAppend(&text,
                    StripRight(Pad(label, width, Align::kLeft) + "  " + value),
                    "\n");
  }
  return text;
}

}  // namespace ramvol::cli
