// SPDX-License-Identifier: BSD-3-Clause
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <stdexcept>
#include <vector>

#include "allocation_count.hpp"
#include "probewise/instrument/open_beam.hpp"

using namespace probewise::open_beam;

static_assert(synchronize(true, Output::sixteen_bit, 0x1234) == Command<3>{0x01, 0x12, 0x34});
static_assert(raster_pixel_run(4095, 8) == Command<5>{0xC0, 0x0F, 0xFF, 0x00, 0x08});
static_assert(vector_pixel(2, 1, 8) == Command<7>{0xE0, 0x00, 0x01, 0x00, 0x02, 0x00, 0x08});
static_assert(array_of(Pixels::vector, 3) == Command<3>{0x8E, 0x00, 0x03});
static_assert(blank(true, false) == Command<1>{0x51});

namespace {

constexpr Placement kWhole{{0.0, kTopCode, 0.0}, {0.0, 0.0, kTopCode}};

}  // namespace

TEST_CASE("a vector scan is encoded without allocation, rounded once, halves to even") {
  const std::size_t samples = 4096;
  std::vector<double> yx(2 * samples);
  for (std::size_t i = 0; i < yx.size(); ++i) {
    const double turn = static_cast<double>(i) * std::numbers::phi;
    yx[i] = turn - std::floor(turn);
  }
  std::vector<std::int64_t> dwell_ns(samples, 1000);
  const Room room = room_for_vectors(samples, 4096 * 1000, 2'000'000);
  std::vector<std::uint8_t> bytes(room.bytes);
  std::vector<Chunk> chunks(room.chunks);
  const long before = allocation_count();
  const std::size_t used = encode_vectors(yx, dwell_ns, kWhole, 2'000'000, bytes, chunks);
  CHECK(allocation_count() == before);
  REQUIRE(used == 3);
  CHECK(chunks[2].samples_end == 4096);
  CHECK(chunks[2].bytes_end == 4096 * 6 + 3 * 4);
  CHECK(chunks[2].ns_end == 4'096'000);
  std::size_t at = 3;
  for (std::size_t i = 0; i < 2000; ++i, at += 6) {
    REQUIRE((bytes[at] << 8 | bytes[at + 1]) == std::nearbyint(yx[2 * i + 1] * kTopCode));
    REQUIRE((bytes[at + 2] << 8 | bytes[at + 3]) == std::nearbyint(yx[2 * i] * kTopCode));
    REQUIRE((bytes[at + 4] << 8 | bytes[at + 5]) == 7);
  }
  CHECK(bytes[at] == 0x20);
}

TEST_CASE("codes beyond the DACs and dwells between two units are refused") {
  std::array<std::uint8_t, 64> bytes;
  std::array<Chunk, 4> chunks;
  const std::array<double, 2> outside{0.5, 1.0001}, inside{0.5, 1.0};
  const std::array<std::int64_t, 1> whole{125}, between{130}, long_one{kLongestDwellNs + kDwellUnitNs};
  CHECK(encode_vectors(inside, whole, kWhole, 1000, bytes, chunks) == 1);
  CHECK_THROWS_AS(encode_vectors(outside, whole, kWhole, 1000, bytes, chunks), std::invalid_argument);
  CHECK_THROWS_AS(encode_vectors(inside, between, kWhole, 1000, bytes, chunks), std::invalid_argument);
  CHECK_THROWS_AS(encode_vectors(inside, long_one, kWhole, 1000, bytes, chunks), std::invalid_argument);
}

TEST_CASE("a region has a step only where it holds every pixel to half a code") {
  CHECK(raster_axis(10.0, 16.0, 1000)->step == 16 * 256);
  CHECK_FALSE(raster_axis(8.1915, 16.383, 1000).has_value());
  CHECK_FALSE(raster_axis(20.0, 16.0, 1024).has_value());  // beyond the last code
}

TEST_CASE("answers become counts without allocation") {
  const std::array<std::uint8_t, 6> words{0x3F, 0xFF, 0x00, 0x01, 0x01, 0x00};
  const std::array<bool, 3> keep{true, false, true};
  std::array<float, 3> counts;
  const long before = allocation_count();
  CHECK(decode_counts(words, {}, counts) == 3);
  CHECK(counts == std::array<float, 3>{16383.0F, 1.0F, 256.0F});
  CHECK(decode_counts(words, keep, counts) == 2);
  CHECK(counts[1] == 256.0F);
  CHECK(allocation_count() == before);
}
