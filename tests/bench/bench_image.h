// Real data to measure with: a file system image made from the machine's own
// files.
#ifndef RAMVOL_TESTS_BENCH_BENCH_IMAGE_H_
#define RAMVOL_TESTS_BENCH_BENCH_IMAGE_H_

#include <cstddef>
#include <string>

namespace ramvol::bench {

// The path of an ext4 image of about 300 MiB of this machine's programs,
// libraries, headers and documents, made in TMPDIR (or /tmp) on the first call
// and found there by later runs. Without mke2fs it is the same files one after
// the other, each padded to 4 KiB. RAMVOL_BENCH_IMAGE names another one. Ends
// the program when there is none to be had.
std::string ImagePath();

// Up to `max_bytes` of the image's content, evenly from all of it, in chunks of
// 64 KiB none of whose blocks is all zeroes. A multiple of 64 KiB, at least 16
// MiB.
std::string ImageChunks(size_t max_bytes);

}  // namespace ramvol::bench

#endif  // RAMVOL_TESTS_BENCH_BENCH_IMAGE_H_
