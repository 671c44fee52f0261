#include "server/engine/content/home.h"

#include "server/engine/content/node.h"

namespace ramvol::engine {

Home::Home(HomePointer pointer, uint64_t chunk)
    : pointer_(pointer), chunk_(chunk) {
  if (Leaf* leaf = pointer.leaf()) {
    leaf->count.Pin();
  } else if (Cell* cell = pointer.cell()) {
    cell->count.Pin();
  }
}

Home::~Home() {
  if (Leaf* leaf = pointer_.leaf()) {
    Unpin(leaf);
  } else if (Cell* cell = pointer_.cell()) {
    Unpin(cell);
  }
}

}  // namespace ramvol::engine
