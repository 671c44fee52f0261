#include "client/callback_scope.h"

namespace ramvol {
namespace {

thread_local const void* current_owner = nullptr;

}  // namespace

CallbackScope::CallbackScope(const void* owner) : outer_(current_owner) {
  current_owner = owner;
}

CallbackScope::~CallbackScope() { current_owner = outer_; }

const void* CallbackScope::current() { return current_owner; }

}  // namespace ramvol
