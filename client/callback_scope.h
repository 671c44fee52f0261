// Marks threads that are running a user's callback.
#ifndef RAMVOL_CLIENT_CALLBACK_SCOPE_H_
#define RAMVOL_CLIENT_CALLBACK_SCOPE_H_

#include <cstddef>

namespace ramvol {

// While one lives, this thread runs callbacks on behalf of `owner`. Operations
// that a callback starts must not wait, since they may wait for this thread.
class CallbackScope {
 public:
  explicit CallbackScope(const void* owner);
  CallbackScope(const CallbackScope&) = delete;
  CallbackScope& operator=(const CallbackScope&) = delete;
  ~CallbackScope();

  // The owner of this thread's innermost scope, or null.
  static const void* current();

  // How many more callbacks this thread will run after the one that it is in.
  static size_t left();
  static void set_left(size_t left);

 private:
  const void* const outer_;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_CALLBACK_SCOPE_H_
