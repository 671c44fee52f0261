// Marks threads that are running a user's callback.
#ifndef RAMVOL_CLIENT_CALLBACK_SCOPE_H_
#define RAMVOL_CLIENT_CALLBACK_SCOPE_H_

#include <cstddef>

namespace ramvol {

// While a scope lives, its thread runs callbacks on behalf of `owner`. An
// operation that a callback starts must not wait: it might wait for this very
// thread.
class CallbackScope {
 public:
  explicit CallbackScope(const void* owner);
  CallbackScope(const CallbackScope&) = delete;
  CallbackScope& operator=(const CallbackScope&) = delete;
  ~CallbackScope();

  // The owner of this thread's innermost scope, or null.
  static const void* current();

  // How many callbacks this thread will run after the present one.
  static size_t left();
  static void set_left(size_t left);

 private:
  const void* const outer_;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_CALLBACK_SCOPE_H_
