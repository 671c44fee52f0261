// Random but replayable test data, of the kinds that the engine treats apart.
#ifndef RAMVOL_TESTS_SUPPORT_RANDOM_DATA_H_
#define RAMVOL_TESTS_SUPPORT_RANDOM_DATA_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>

namespace ramvol::testing {

// The seed of a random test: RAMVOL_TEST_SEED when that is set, else
// `fallback`. Printed, so that a failure can be replayed.
uint64_t TestSeed(uint64_t fallback);

// RAMVOL_TEST_STEPS when that is set, else `fallback`, or a part of it under a
// sanitizer, which takes longer for each step and does not look for what only
// rare states show.
int TestSteps(int fallback);

// A number from 0 to `below` - 1, small ones as likely as large ones.
uint64_t SkewedBelow(std::mt19937_64& random, uint64_t below);

// `bytes` bytes of one of these: noise, text that compresses well, zeroes, a
// repeated 8-byte pattern, or a mixture by blocks.
std::string RandomData(std::mt19937_64& random, size_t bytes);

// Bytes that do not compress.
std::string Noise(std::mt19937_64& random, size_t bytes);

// Bytes that compress to about a quarter.
std::string Text(std::mt19937_64& random, size_t bytes);

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_SUPPORT_RANDOM_DATA_H_
