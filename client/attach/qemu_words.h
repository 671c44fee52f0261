// How words are written for QEMU and for a shell.
#ifndef RAMVOL_CLIENT_ATTACH_QEMU_WORDS_H_
#define RAMVOL_CLIENT_ATTACH_QEMU_WORDS_H_

#include <string>

namespace ramvol {

// Doubles commas, which separate QEMU's options.
std::string QemuValue(const std::string& value);

// As a shell reads it as one word.
std::string ShellQuote(const std::string& word);

// A node name for QEMU: a letter, then at most 30 of [A-Za-z0-9._-]. Different
// volumes have different names.
std::string QemuNodeName(const std::string& volume);

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_ATTACH_QEMU_WORDS_H_
