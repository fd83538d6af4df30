// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/instrument/open_beam.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

namespace probewise::open_beam {
namespace {

constexpr std::size_t kVectorBytes = 6;
constexpr std::size_t kArrayBytes = sizeof(array_of(Pixels::vector, 0)) + sizeof(flush());
constexpr std::size_t kRunBytes = sizeof(raster_pixel_run(0, 0)) + sizeof(flush());
constexpr std::size_t kRegionBytes = sizeof(raster_region({}, {}));

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

/// The integer nearest to `value`, halves to even; beyond kTopCode for what is no code, NaN too.
std::uint64_t nearest(double value) {
  constexpr double kOnes = 6755399441055744.0;  // 1.5 * 2^52: from here on the last bit of a double counts ones
  return std::bit_cast<std::uint64_t>(value + kOnes) - std::bit_cast<std::uint64_t>(kOnes);
}

/// The bytes of `value`, highest first.
std::uint64_t big_endian(std::uint64_t value) {
  if constexpr (std::endian::native == std::endian::big) return value;
  value = (value & 0x00FF00FF00FF00FF) << 8 | (value >> 8 & 0x00FF00FF00FF00FF);
  value = (value & 0x0000FFFF0000FFFF) << 16 | (value >> 16 & 0x0000FFFF0000FFFF);
  return value << 32 | value >> 32;
}

double along(const Placement::Axis& axis, const double* yx) {
  return axis.origin + axis.along_y * yx[0] + axis.along_x * yx[1];
}

/// Refuses the first of `count` samples that is beyond the DACs, or the last one; `first` is the number of the first.
[[noreturn]] void refuse_position(const double* yx, std::size_t first, std::size_t count, const Placement& placement) {
  std::size_t bad = 0;
  while (bad + 1 < count &&
         (nearest(along(placement.y, yx + 2 * bad)) | nearest(along(placement.x, yx + 2 * bad))) <= kTopCode) {
    ++bad;
  }
  throw std::invalid_argument(
      "yx[" + std::to_string(first + bad) + "] lies at DAC codes (" + std::to_string(along(placement.y, yx + 2 * bad)) +
      ", " + std::to_string(along(placement.x, yx + 2 * bad)) + "), expected 0 to " + std::to_string(kTopCode));
}

/// The fields of samples [first, end) of an array, with a dwell each unless all last one unit.
std::uint8_t* put_samples(std::uint8_t* at, std::span<const double> yx, std::span<const std::int64_t> dwell_ns,
                          std::size_t first, std::size_t end, const Placement& placement, bool least) {
  const std::size_t bytes = least ? 4 : 6;
  std::uint64_t all = 0;
  std::int64_t last_ns = 0;
  std::uint16_t field = 0;
  for (std::size_t i = first; i < end; ++i) {
    if (dwell_ns[i] != last_ns) {
      last_ns = dwell_ns[i];
      if (!dwell_field(last_ns, field)) refuse_dwell("dwell_ns[" + std::to_string(i) + "]", last_ns);
    }
    const std::uint64_t y = nearest(along(placement.y, &yx[2 * i])), x = nearest(along(placement.x, &yx[2 * i]));
    all |= y | x;
    const std::uint64_t words = x << 48 | y << 32 | static_cast<std::uint64_t>(field) << 16;
    const std::uint64_t sent = big_endian(words);
    if (i + 1 < end) {  // more bytes than needed are one store; the next sample takes their place
      std::memcpy(at, &sent, sizeof(sent));
    } else {
      std::memcpy(at, &sent, bytes);
    }
    at += bytes;
  }
  if (all > kTopCode) refuse_position(yx.data() + 2 * first, first, end - first, placement);
  return at;
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
  std::uint64_t all = 0;
  for (std::size_t i = 0; i < yx.size(); i += 2) {
    const std::uint64_t y = nearest(along(placement.y, &yx[i])), x = nearest(along(placement.x, &yx[i]));
    all |= y | x;
    codes[i] = static_cast<std::uint16_t>(y);
    codes[i + 1] = static_cast<std::uint16_t>(x);
  }
  if (all > kTopCode) refuse_position(yx.data(), 0, yx.size() / 2, placement);
}

std::size_t encode_vectors(std::span<const double> yx, std::span<const std::int64_t> dwell_ns,
                           const Placement& placement, std::int64_t chunk_ns, std::span<std::uint8_t> bytes,
                           std::span<Chunk> chunks) {
  const std::size_t samples = dwell_ns.size();
  check_length(yx.size(), 2 * samples, "yx");
  std::int64_t duration_ns = 0;
  for (std::size_t i = 0; i < samples; ++i) {
    if (dwell_ns[i] < kDwellUnitNs || dwell_ns[i] > kLongestDwellNs) {
      refuse_dwell("dwell_ns[" + std::to_string(i) + "]", dwell_ns[i]);
    }
    duration_ns += dwell_ns[i];
  }
  check_room(room_for_vectors(samples, duration_ns, chunk_ns), bytes.size(), chunks.size());

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
    at = put(put_samples(at, yx, dwell_ns, first, end, placement, least), flush());
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
