#include "server/engine/content/hot_node.h"

namespace ramvol::engine {

void HotNodes::Add(HotNode* node) {
  MutexLock lock(&mu_);
  if (newest_ == nullptr) newest_ = node->older = node->newer = node;
  node->older = newest_;
  node->newer = newest_->newer;
  node->older->newer = node->newer->older = node;
  newest_ = node;
  ++size_;
}

void HotNodes::Remove(HotNode* node) {
  MutexLock lock(&mu_);
  node->older->newer = node->newer;
  node->newer->older = node->older;
  --size_;
  if (newest_ == node) newest_ = node->older == node ? nullptr : node->older;
}

Home HotNodes::Rotate() {
  MutexLock lock(&mu_);
  if (newest_ == nullptr) return Home();
  newest_ = newest_->newer;
  return newest_->PinHome();
}

size_t HotNodes::size() const {
  MutexLock lock(&mu_);
  return size_;
}

}  // namespace ramvol::engine
