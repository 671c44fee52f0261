// What is done with one input of the Io fuzzer.
#ifndef RAMVOL_TESTS_FUZZ_IO_SESSION_DRIVER_H_
#define RAMVOL_TESTS_FUZZ_IO_SESSION_DRIVER_H_

#include <cstddef>
#include <cstdint>

namespace ramvol::testing {

// Drives a stream's protocol over a small volume with messages from the input,
// and aborts when one of the promises of IoSession is broken. The input is a
// sequence of records: one byte that says what happens next, and for a message
// a two-byte length, little-endian, and as many bytes of an IoRequest.
void FuzzIoSession(const uint8_t* data, size_t size);

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_FUZZ_IO_SESSION_DRIVER_H_
