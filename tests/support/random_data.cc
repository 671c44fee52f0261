#include "tests/support/random_data.h"

#include <cstdlib>
#include <cstring>
#include <iostream>

#include "absl/base/config.h"

namespace ramvol::testing {

uint64_t TestSeed(uint64_t fallback) {
  const char* given = std::getenv("RAMVOL_TEST_SEED");
  const uint64_t seed =
      given == nullptr ? fallback : std::strtoull(given, nullptr, 10);
  std::cout << "replay with RAMVOL_TEST_SEED=" << seed << std::endl;
  return seed;
}

int TestSteps(int fallback) {
  const char* given = std::getenv("RAMVOL_TEST_STEPS");
  if (given != nullptr) return std::atoi(given);
#if defined(RAMVOL_TSAN)
  constexpr int kDivisor = 6;
#elif defined(ABSL_HAVE_ADDRESS_SANITIZER)
  constexpr int kDivisor = 3;
#else
  constexpr int kDivisor = 1;
#endif
  return (fallback + kDivisor - 1) / kDivisor;
}

uint64_t SkewedBelow(std::mt19937_64& random, uint64_t below) {
  const int bits = static_cast<int>(random() % 64);
  return (random() >> bits) % below;
}

std::string Noise(std::mt19937_64& random, size_t bytes) {
  std::string data((bytes + 7) / 8 * 8, '\0');
  for (size_t i = 0; i < data.size(); i += 8) {
    const uint64_t word = random();
    std::memcpy(data.data() + i, &word, 8);
  }
  data.resize(bytes);
  return data;
}

std::string Text(std::mt19937_64& random, size_t bytes) {
  static constexpr const char* kWords[] = {
      "volume ", "block ", "chunk ", "frame ",  "hole\n",  "the ", "of ",
      "memory ", "write ", "read ",  "cache, ", "server ", "and ", "zstd. "};
  std::string data;
  while (data.size() < bytes) {
    data += kWords[random() % std::size(kWords)];
    if (random() % 4 == 0) data += std::to_string(random() % 1000);
  }
  data.resize(bytes);
  return data;
}

std::string RandomData(std::mt19937_64& random, size_t bytes) {
  switch (random() % 8) {
    case 0:
      return Noise(random, bytes);
    case 1:
      return std::string(bytes, '\0');
    case 2: {
      std::string data(bytes, '\0');
      const uint64_t pattern = random();
      for (size_t i = 0; i < bytes; ++i) data[i] = pattern >> (i % 8 * 8);
      return data;
    }
    case 3: {
      std::string data;
      while (data.size() < bytes) {
        const size_t part = 4096 * (1 + random() % 3);
        const uint64_t kind = random() % 3;
        data += kind == 0   ? Noise(random, part)
                : kind == 1 ? Text(random, part)
                            : std::string(part, '\0');
      }
      data.resize(bytes);
      return data;
    }
    default:
      return Text(random, bytes);
  }
}

}  // namespace ramvol::testing
