// The records of all volumes and snapshots, from which everything is reached.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_RECORD_LIST_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_RECORD_LIST_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "server/engine/content/record.h"
#include "server/engine/memory/arena.h"

namespace ramvol::engine {

// A part of a description. Lives in the arena.
struct TextPiece {
  static constexpr size_t kMaxBytes = 4096;

  TextPiece* next = nullptr;
  uint64_t bytes = 0;  // Of text, which follows.

  char* text() { return reinterpret_cast<char*>(this + 1); }
  const char* text() const { return reinterpret_cast<const char*>(this + 1); }
};

// Begins in the arena's root area. A record is in the list from the one store
// that adds it until the one that removes it.
//
// Thread-safe. Borrows `arena`, which must outlive it.
class RecordList {
 public:
  // What lies in the root area.
  using Head = std::atomic<Record*>;

  // Takes over the records that are in the list.
  RecordList(Arena& arena, Head* head) : arena_(arena), head_(*head) {}

  RecordList(const RecordList&) = delete;
  RecordList& operator=(const RecordList&) = delete;

  // A record outside of the list. Exceeds the memory limit rather than fail.
  Record* New(uint64_t size_bytes);
  // Frees one that is not in the list and has no content, and its description
  // if it has one.
  void Free(Record* record, bool described);
  // A description outside of any record; nullptr at the memory limit. `text`
  // is not empty.
  TextPiece* NewText(std::string_view text, Priority priority);
  // Frees one that is in no record. nullptr: nothing.
  void FreeText(TextPiece* text);
  // Replaces the description alone. `*text` is the earlier one afterwards. Not
  // while the record's top changes.
  static void Describe(Record* record, TextPiece** text);
  static std::string DescriptionOf(const Record& record);

  // Adds records, all at once.
  void Add(absl::Span<Record* const> records);
  void Remove(Record* record);
  Record* first() const { return head_.load(std::memory_order_acquire); }

 private:
  Arena& arena_;
  Head& head_;
  Mutex mu_;  // Held while the list changes.
};

// The record of a volume as its owner holds it: one of a list, or one that goes
// with this process. Not thread-safe, but for get().
class HeldRecord {
 public:
  // Makes one; outside of `list`, which is nullptr if there is none.
  HeldRecord(RecordList* list, uint64_t size_bytes);
  // Holds one that is in `list`. If it is damaged, get() is an empty one
  // instead.
  // A description that is damaged, too, is left to the next recovery.
  HeldRecord(RecordList* list, Record* record, bool damaged, bool described)
      : list_(list),
        own_(1),
        record_(record),
        content_(damaged ? &own_ : record),
        described_(described),
        listed_(true) {}
  // Frees a record that is in no list. There must be no content below it, or
  // nobody may need its content any more.
  ~HeldRecord();

  HeldRecord(const HeldRecord&) = delete;
  HeldRecord& operator=(const HeldRecord&) = delete;

  Record& get() const { return *content_; }
  // Whether it, and all below, stays when its holder goes.
  bool listed() const { return listed_; }
  // All do nothing without a list. See RecordList; a text may be for Describe,
  // or for the content, to change with it.
  TextPiece* NewText(std::string_view text);
  void FreeText(TextPiece* text);
  void Describe(TextPiece** text);
  // Describes a record that is in no list. False, with no change, at the memory
  // limit.
  bool Describe(std::string_view text);
  void Unlist();
  // Enters records, all at once.
  static void Enlist(const std::vector<HeldRecord*>& all);

 private:
  RecordList* const list_;
  Record own_;
  Record* const record_;
  Record* const content_;
  const bool described_ = true;
  bool listed_ = false;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_RECORD_LIST_H_
