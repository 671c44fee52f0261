#include "server/engine/content/record_list.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "server/engine/content/publish.h"

namespace ramvol::engine {

Record* RecordList::New(uint64_t size_bytes) {
  void* memory = arena_.Allocate(sizeof(Record), Priority::kGuaranteed);
  return new (memory) Record(size_bytes);
}

void RecordList::Free(Record* record, bool described) {
  if (described)
    FreeText(record->top().description.load(std::memory_order_relaxed));
  arena_.Free(record, sizeof(Record));
}

void RecordList::FreeText(TextPiece* text) {
  while (text != nullptr) {
    TextPiece* next = text->next;
    arena_.Free(text, sizeof(TextPiece) + text->bytes);
    text = next;
  }
}

TextPiece* RecordList::NewText(std::string_view text, Priority priority) {
  TextPiece* first = nullptr;
  // From the end, so that each piece knows the next.
  while (!text.empty()) {
    const size_t bytes = (text.size() - 1) % TextPiece::kMaxBytes + 1;
    void* memory = arena_.Allocate(sizeof(TextPiece) + bytes, priority);
    if (memory == nullptr) {
      FreeText(first);
      return nullptr;
    }
    auto* piece = new (memory) TextPiece;
    piece->next = first;
    piece->bytes = bytes;
    std::memcpy(piece->text(), text.data() + text.size() - bytes, bytes);
    text.remove_suffix(bytes);
    first = piece;
  }
  return first;
}

void RecordList::Describe(Record* record, TextPiece** text) {
  std::atomic<TextPiece*>& place = record->top().description;
  TextPiece* earlier = place.load(std::memory_order_relaxed);
  Publish(place, *text);
  *text = earlier;
}

std::string RecordList::DescriptionOf(const Record& record) {
  std::string text;
  const TextPiece* piece =
      record.top().description.load(std::memory_order_acquire);
  for (; piece != nullptr; piece = piece->next) {
    text.append(piece->text(), piece->bytes);
  }
  return text;
}

void RecordList::Add(absl::Span<Record* const> records) {
  if (records.empty()) return;
  MutexLock lock(&mu_);
  Record* next = first();
  for (size_t i = records.size(); i > 0; --i) {
    Record* record = records[i - 1];
    record->next.store(next, std::memory_order_relaxed);
    if (next != nullptr) next->previous = record;
    next = record;
  }
  next->previous = nullptr;
  Publish(head_, next);
}

void RecordList::Remove(Record* record) {
  MutexLock lock(&mu_);
  Record* next = record->next.load(std::memory_order_relaxed);
  auto& link = record->previous == nullptr ? head_ : record->previous->next;
  Publish(link, next);
  if (next != nullptr) next->previous = record->previous;
}

HeldRecord::HeldRecord(RecordList* list, uint64_t size_bytes)
    : list_(list),
      own_(size_bytes),
      record_(list == nullptr ? &own_ : list->New(size_bytes)),
      content_(record_) {}

HeldRecord::~HeldRecord() {
  if (list_ != nullptr && !listed_) list_->Free(record_, described_);
}

TextPiece* HeldRecord::NewText(std::string_view text) {
  if (list_ == nullptr) return nullptr;
  return list_->NewText(text, Priority::kGuaranteed);
}

void HeldRecord::FreeText(TextPiece* text) {
  if (list_ != nullptr) list_->FreeText(text);
}

void HeldRecord::Describe(TextPiece** text) {
  if (list_ != nullptr) RecordList::Describe(record_, text);
}

bool HeldRecord::Describe(std::string_view text) {
  if (list_ == nullptr) return true;
  TextPiece* made = list_->NewText(text, Priority::kNormal);
  if (made == nullptr) return false;
  Describe(&made);
  FreeText(made);
  return true;
}

void HeldRecord::Unlist() {
  if (listed_) list_->Remove(record_);
  listed_ = false;
}

void HeldRecord::Enlist(const std::vector<HeldRecord*>& all) {
  std::vector<Record*> records;
  for (HeldRecord* held : all) {
    if (held->list_ == nullptr) return;
    held->listed_ = true;
    records.push_back(held->record_);
  }
  if (!records.empty()) all.front()->list_->Add(records);
}

}  // namespace ramvol::engine
