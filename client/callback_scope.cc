#include "client/callback_scope.h"

namespace ramvol {
namespace {

thread_local const void* current_owner = nullptr;
thread_local size_t callbacks_left = 0;

}  // namespace

CallbackScope::CallbackScope(const void* owner) : outer_(current_owner) {
  current_owner = owner;
}

CallbackScope::~CallbackScope() { current_owner = outer_; }

const void* CallbackScope::current() { return current_owner; }

size_t CallbackScope::left() { return callbacks_left; }
void CallbackScope::set_left(size_t left) { callbacks_left = left; }

}  // namespace ramvol
