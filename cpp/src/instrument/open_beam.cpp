// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/instrument/open_beam.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace probewise::open_beam {
namespace {

constexpr std::size_t kBlock = 512;
constexpr std::size_t kVectorBytes = 6;
constexpr std::size_t kArrayBytes = sizeof(array_of(Pixels::vector, 0)) + sizeof(flush());
constexpr std::size_t kRunBytes = sizeof(raster_pixel_run(0, 0)) + sizeof(flush());
constexpr std::size_t kRegionBytes = sizeof(raster_region({}, {}));
constexpr double kRounder = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer, halves to even

std::uint8_t* put(std::uint8_t* at, std::uint16_t value) {
  at[0] = high_byte(value);
  at[1] = low_byte(value);
  return at + 2;
}

template <std::size_t bytes>
std::uint8_t* put(std::uint8_t* at, const Command<bytes>& command) {
  return std::copy(command.begin(), command.end(), at);
}

[[noreturn]] void refuse_dwell(const std::string& name, std::int64_t dwell_ns) {
  if (dwell_ns < kDwellUnitNs || dwell_ns > kLongestDwellNs) {
    throw std::invalid_argument(name + " is " + std::to_string(dwell_ns) + ", expected " +
                                std::to_string(kDwellUnitNs) + " to " + std::to_string(kLongestDwellNs));
  }
  const std::int64_t below = dwell_ns / kDwellUnitNs * kDwellUnitNs;
  throw std::invalid_argument(name + " is " + std::to_string(dwell_ns) + ", expected a multiple of " +
                              std::to_string(kDwellUnitNs) + " such as " + std::to_string(below) + " or " +
                              std::to_string(below + kDwellUnitNs));
}

/// The field of a dwell, or false.
bool dwell_field(std::int64_t dwell_ns, std::uint16_t& field) {
  if (dwell_ns < kDwellUnitNs || dwell_ns > kLongestDwellNs) return false;
  const auto ns = static_cast<std::uint32_t>(dwell_ns);
  const std::uint32_t units = ns / static_cast<std::uint32_t>(kDwellUnitNs);
  field = static_cast<std::uint16_t>(units - 1);
  return units * static_cast<std::uint32_t>(kDwellUnitNs) == ns;
}

struct Codes {
  double y, x;
};

Codes codes_at(const double* yx, const Placement& placement) {
  return {placement.y.origin + placement.y.along_y * yx[0] + placement.y.along_x * yx[1],
          placement.x.origin + placement.x.along_y * yx[0] + placement.x.along_x * yx[1]};
}

bool on_the_dacs(const Codes& rounded) {
  return rounded.y >= 0.0 && rounded.y <= kTopCode && rounded.x >= 0.0 && rounded.x <= kTopCode;  // no NaN either
}

Codes rounded(const Codes& codes) { return {codes.y + kRounder - kRounder, codes.x + kRounder - kRounder}; }

/// Codes (y, x) of `count` samples; `first` is what a message calls the first of them.
void place(const double* yx, std::size_t first, std::size_t count, const Placement& placement, std::uint16_t* codes) {
  bool inside = true;
  for (std::size_t i = 0; i < count; ++i) {
    const Codes code = rounded(codes_at(yx + 2 * i, placement));
    const bool fits = on_the_dacs(code);
    codes[2 * i] = static_cast<std::uint16_t>(static_cast<std::int32_t>(fits ? code.y : 0.0));
    codes[2 * i + 1] = static_cast<std::uint16_t>(static_cast<std::int32_t>(fits ? code.x : 0.0));
    inside = inside && fits;
  }
  if (inside) return;
  std::size_t bad = 0;
  while (bad + 1 < count && on_the_dacs(rounded(codes_at(yx + 2 * bad, placement)))) ++bad;
  const Codes code = codes_at(yx + 2 * bad, placement);
  throw std::invalid_argument("yx[" + std::to_string(first + bad) + "] lies at DAC codes (" + std::to_string(code.y) +
                              ", " + std::to_string(code.x) + "), expected 0 to " + std::to_string(kTopCode));
}

void check_length(std::size_t length, std::size_t expected, const char* name) {
  if (length != expected) {
    throw std::invalid_argument(std::string(name) + " has " + std::to_string(length) + " values, expected " +
                                std::to_string(expected));
  }
}

void check_room(const Room& room, std::size_t bytes, std::size_t chunks) {
  if (bytes < room.bytes || chunks < room.chunks) {
    throw std::invalid_argument("there is room for " + std::to_string(bytes) + " bytes and " + std::to_string(chunks) +
                                " chunks, expected " + std::to_string(room.bytes) + " and " +
                                std::to_string(room.chunks));
  }
}

std::size_t most_chunks(std::size_t samples, std::int64_t duration_ns, std::int64_t chunk_ns) {
  if (chunk_ns < 1 || duration_ns < 0) {
    throw std::invalid_argument("chunk_ns is " + std::to_string(chunk_ns) + ", duration_ns " +
                                std::to_string(duration_ns) + ", expected positive times");
  }
  return std::min(samples, static_cast<std::size_t>(duration_ns / chunk_ns) + samples / kLongestArray + 1);
}

}  // namespace

std::optional<RasterAxis> raster_axis(double first, double pitch, std::size_t count) {
  if (!(first >= 0.0 && first <= kTopCode && pitch > 0.0 && pitch < 255.0) || count < 1 || count > kTopCode) return {};
  for (const double start : {std::floor(first), std::ceil(first)}) {
    for (const double step : {std::floor(pitch * 256.0), std::ceil(pitch * 256.0)}) {
      bool close = true;
      for (std::size_t k = 0; close && k < count; ++k) {
        const double at = static_cast<double>(k);
        const double code = start + std::floor(at * step / 256.0);
        close = std::abs(code - (first + at * pitch)) <= 0.5 && code <= kTopCode;
      }
      if (close) {
        return RasterAxis{static_cast<std::uint16_t>(start), static_cast<std::uint16_t>(count),
                          static_cast<std::uint16_t>(step)};
      }
    }
  }
  return {};
}

Room room_for_vectors(std::size_t samples, std::int64_t duration_ns, std::int64_t chunk_ns) {
  const std::size_t chunks = most_chunks(samples, duration_ns, chunk_ns);
  return {chunks, samples * kVectorBytes + chunks * kArrayBytes};
}

Room room_for_raster(std::size_t samples, std::int64_t duration_ns, std::int64_t chunk_ns) {
  const std::size_t chunks = most_chunks(samples, duration_ns, chunk_ns);
  return {chunks, kRegionBytes + chunks * kRunBytes};
}

void vector_codes(std::span<const double> yx, const Placement& placement, std::span<std::uint16_t> codes) {
  check_length(codes.size(), yx.size(), "codes");
  place(yx.data(), 0, yx.size() / 2, placement, codes.data());
}

std::size_t encode_vectors(std::span<const double> yx, std::span<const std::int64_t> dwell_ns,
                           const Placement& placement, std::int64_t chunk_ns, std::span<std::uint8_t> bytes,
                           std::span<Chunk> chunks) {
  const std::size_t samples = dwell_ns.size();
  check_length(yx.size(), 2 * samples, "yx");
  std::uint16_t field = 0;
  std::int64_t duration_ns = 0;
  for (std::size_t i = 0; i < samples; ++i) {
    if (!dwell_field(dwell_ns[i], field)) refuse_dwell("dwell_ns[" + std::to_string(i) + "]", dwell_ns[i]);
    duration_ns += dwell_ns[i];
  }
  check_room(room_for_vectors(samples, duration_ns, chunk_ns), bytes.size(), chunks.size());

  std::array<std::uint16_t, 2 * kBlock> codes;
  std::uint8_t* at = bytes.data();
  std::size_t used = 0;
  std::int64_t elapsed_ns = 0;
  for (std::size_t first = 0; first < samples;) {
    const std::size_t most = std::min(samples, first + kLongestArray);
    std::size_t end = first;
    std::int64_t chunk = 0, longest = 0;
    while (end < most && chunk < chunk_ns) {
      longest = std::max(longest, dwell_ns[end]);
      chunk += dwell_ns[end++];
    }
    const bool least = longest == kDwellUnitNs;
    at = put(
        at, array_of(least ? Pixels::vector_least_dwell : Pixels::vector, static_cast<std::uint16_t>(end - first - 1)));
    for (std::size_t begin = first; begin < end; begin += kBlock) {
      const std::size_t count = std::min(kBlock, end - begin);
      place(yx.data() + 2 * begin, begin, count, placement, codes.data());
      for (std::size_t i = 0; i < count; ++i) {
        at = put(put(at, codes[2 * i + 1]), codes[2 * i]);
        if (!least) {
          dwell_field(dwell_ns[begin + i], field);
          at = put(at, field);
        }
      }
    }
    at = put(at, flush());
    elapsed_ns += chunk;
    first = end;
    chunks[used++] = {static_cast<std::int64_t>(end), at - bytes.data(), elapsed_ns};
  }
  return used;
}

std::size_t encode_raster(RasterAxis y, RasterAxis x, std::int64_t dwell_ns, std::int64_t chunk_ns,
                          std::span<std::uint8_t> bytes, std::span<Chunk> chunks) {
  std::uint16_t field = 0;
  if (!dwell_field(dwell_ns, field)) refuse_dwell("dwell_ns", dwell_ns);
  const std::size_t samples = static_cast<std::size_t>(y.count) * x.count;
  const std::int64_t duration_ns = static_cast<std::int64_t>(samples) * dwell_ns;
  check_room(room_for_raster(samples, duration_ns, chunk_ns), bytes.size(), chunks.size());
  const auto wanted = static_cast<std::size_t>((chunk_ns + dwell_ns - 1) / dwell_ns);
  std::uint8_t* at = put(bytes.data(), raster_region(y, x));
  std::size_t used = 0;
  for (std::size_t first = 0; first < samples;) {
    const std::size_t end = std::min({samples, first + wanted, first + kLongestArray});
    at = put(put(at, raster_pixel_run(static_cast<std::uint16_t>(end - first - 1), field)), flush());
    first = end;
    const auto ended = static_cast<std::int64_t>(end);
    chunks[used++] = {ended, at - bytes.data(), ended * dwell_ns};
  }
  return used;
}

std::size_t decode_counts(std::span<const std::uint8_t> words, std::span<const bool> keep, std::span<float> counts) {
  const std::size_t samples = words.size() / 2;
  if (words.size() % 2 != 0) throw std::invalid_argument("words has an odd number of bytes, expected whole words");
  if (!keep.empty()) check_length(keep.size(), samples, "keep");
  std::size_t written = 0;
  for (std::size_t i = 0; i < samples; ++i) {
    const int word = words[2 * i] << 8 | words[2 * i + 1];
    if (word > kTopCode) {
      throw std::invalid_argument("word " + std::to_string(i) + " is " + std::to_string(word) +
                                  ", expected a detector code of 0 to " + std::to_string(kTopCode));
    }
    if (!keep.empty() && !keep[i]) continue;
    if (written == counts.size()) {
      throw std::invalid_argument("counts has room for " + std::to_string(counts.size()) +
                                  " samples, expected room for all that are kept");
    }
    counts[written++] = static_cast<float>(word);
  }
  return written;
}

}  // namespace probewise::open_beam
