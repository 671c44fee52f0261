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
  // Frees one that is not in the list and has no content.
  void Free(Record* record);
  // Replaces the description. False, with no change, at the memory limit.
  bool Describe(Record* record, std::string_view text, Priority priority);
  static std::string DescriptionOf(const Record& record);

  // Adds records, all at once.
  void Add(absl::Span<Record* const> records);
  void Remove(Record* record);
  Record* first() const { return head_.load(std::memory_order_acquire); }

 private:
  void FreeText(TextPiece* piece);

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
  HeldRecord(RecordList* list, Record* record, bool damaged)
      : list_(list),
        own_(1),
        record_(record),
        content_(damaged ? &own_ : record),
        listed_(true) {}
  // Frees a record that is in no list, unless it is damaged. There must be no
  // content below it.
  ~HeldRecord();

  HeldRecord(const HeldRecord&) = delete;
  HeldRecord& operator=(const HeldRecord&) = delete;

  Record& get() const { return *content_; }
  // Whether it, and all below, stays when its holder goes.
  bool listed() const { return listed_; }
  // All do nothing without a list.
  bool Describe(std::string_view text, Priority priority);
  void Unlist();
  // Enters records, all at once.
  static void Enlist(const std::vector<HeldRecord*>& all);

 private:
  RecordList* const list_;
  Record own_;
  Record* const record_;
  Record* const content_;
  bool listed_ = false;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_RECORD_LIST_H_
