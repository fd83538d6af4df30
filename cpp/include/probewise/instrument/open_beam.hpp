// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

/// The command protocol of the Open Beam Interface. A command is a header byte, operation << 4 | flags, and big-endian
/// 16-bit fields; it is carried out after the ones before it. A pixel answers with one word, its mean detector code of
/// 14 bits. x comes before y on the wire; pairs of this library are (y, x).
namespace probewise::open_beam {

inline constexpr int kDacBits = 14;
inline constexpr std::uint16_t kTopCode = (1U << kDacBits) - 1;  // of the DACs and of the detector
inline constexpr std::int64_t kDwellUnitNs = 125;
inline constexpr std::int64_t kLongestDwellNs = 65536 * kDwellUnitNs;
inline constexpr std::size_t kLongestArray = 65536;
inline constexpr std::uint16_t kSynchronized = 0xFFFF;  // the word before the cookie that answers a synchronize

enum class Output : std::uint8_t { sixteen_bit = 0, eight_bit = 1, none = 2 };
enum class Beam : std::uint8_t { none = 0, electron = 1, ion = 2 };
enum class Pixels : std::uint8_t { raster = 0xB, vector = 0xE, vector_least_dwell = 0xF };  // what an array may hold

template <std::size_t bytes>
using Command = std::array<std::uint8_t, bytes>;

constexpr std::uint8_t high_byte(std::uint16_t value) { return static_cast<std::uint8_t>(value >> 8); }
constexpr std::uint8_t low_byte(std::uint16_t value) { return static_cast<std::uint8_t>(value & 0xFF); }

/// Answered by 0xFFFF and the cookie once all pixels before it have answered. `raster`: pixels take their positions
/// from the region, not from their own command.
constexpr Command<3> synchronize(bool raster, Output output, std::uint16_t cookie) {
  const auto flags = static_cast<std::uint8_t>((raster ? 1 : 0) | static_cast<int>(output) << 1);
  return {flags, high_byte(cookie), low_byte(cookie)};
}

/// Ends the raster region. Pixels sent before it are still scanned.
constexpr Command<1> abort_region() { return {0x10}; }

/// Hands out the answers so far.
constexpr Command<1> flush() { return {0x20}; }

/// Takes scan and blanker from the microscope, or gives them back.
constexpr Command<1> external_control(bool enable) { return {static_cast<std::uint8_t>(0x30 | (enable ? 1 : 0))}; }

constexpr Command<1> select_beam(Beam beam) { return {static_cast<std::uint8_t>(0x40 | static_cast<int>(beam))}; }

/// `with_pixel`: together with the pixel that follows, not between pixels.
constexpr Command<1> blank(bool enable, bool with_pixel) {
  return {static_cast<std::uint8_t>(0x50 | (enable ? 1 : 0) | (with_pixel ? 2 : 0))};
}

/// Waits for cycles of 48 MHz, 20.83 ns each.
constexpr Command<3> delay(std::uint16_t cycles) { return {0x60, high_byte(cycles), low_byte(cycles)}; }

/// The fields of `last + 1` commands of one kind follow without their headers.
constexpr Command<3> array_of(Pixels kind, std::uint16_t last) {
  return {static_cast<std::uint8_t>(0x80 | static_cast<int>(kind)), high_byte(last), low_byte(last)};
}

/// One axis of a raster: pixel k lies at code start + floor(k * step / 256).
struct RasterAxis {
  std::uint16_t start, count, step;
};
constexpr Command<13> raster_region(RasterAxis y, RasterAxis x) {
  return {0xA0,
          high_byte(x.start),
          low_byte(x.start),
          high_byte(x.count),
          low_byte(x.count),
          high_byte(x.step),
          low_byte(x.step),
          high_byte(y.start),
          low_byte(y.start),
          high_byte(y.count),
          low_byte(y.count),
          high_byte(y.step),
          low_byte(y.step)};
}

/// A pixel lasts `dwell + 1` units: the hardware counts from zero.
constexpr Command<3> raster_pixel(std::uint16_t dwell) { return {0xB0, high_byte(dwell), low_byte(dwell)}; }

/// `last + 1` pixels of one dwell.
constexpr Command<5> raster_pixel_run(std::uint16_t last, std::uint16_t dwell) {
  return {0xC0, high_byte(last), low_byte(last), high_byte(dwell), low_byte(dwell)};
}

constexpr Command<7> vector_pixel(std::uint16_t y, std::uint16_t x, std::uint16_t dwell) {
  return {0xE0, high_byte(x), low_byte(x), high_byte(y), low_byte(y), high_byte(dwell), low_byte(dwell)};
}

/// For one unit.
constexpr Command<5> vector_pixel_least_dwell(std::uint16_t y, std::uint16_t x) {
  return {0xF0, high_byte(x), low_byte(x), high_byte(y), low_byte(y)};
}

/// Start and step within half a code of first + k * pitch for all k below count, where there are such.
std::optional<RasterAxis> raster_axis(double first, double pitch, std::size_t count);

/// Where a scan lies on the DACs: code = origin + along_y * y + along_x * x for each axis, of fractions (y, x).
struct Placement {
  struct Axis {
    double origin, along_y, along_x;
  };
  Axis y, x;
};

/// Pixels of a scan sent together, and where they end. Bytes count from the begin of the buffer.
struct Chunk {
  std::int64_t samples_end, bytes_end, ns_end;
};

/// How many chunks, and bytes, an encoded scan takes at most.
struct Room {
  std::size_t chunks, bytes;
};
Room room_for_vectors(std::size_t samples, std::int64_t duration_ns, std::int64_t chunk_ns);
Room room_for_raster(std::size_t samples, std::int64_t duration_ns, std::int64_t chunk_ns);

/// A list of positions as arrays of pixels, a flush after each; a chunk ends with the sample that brings it to
/// chunk_ns, or at 65,536 samples. Returns the number of chunks. Does not allocate.
/// Throws std::invalid_argument naming the sample for a position beyond the DACs, a dwell outside 125 ns to 8.192 ms or
/// between two multiples of 125 ns, and buffers without room.
std::size_t encode_vectors(std::span<const double> yx, std::span<const std::int64_t> dwell_ns,
                           const Placement& placement, std::int64_t chunk_ns, std::span<std::uint8_t> bytes,
                           std::span<Chunk> chunks);

/// A region and runs of its pixels, otherwise as encode_vectors.
std::size_t encode_raster(RasterAxis y, RasterAxis x, std::int64_t dwell_ns, std::int64_t chunk_ns,
                          std::span<std::uint8_t> bytes, std::span<Chunk> chunks);

/// Codes (y, x) of all samples as encode_vectors sends them.
void vector_codes(std::span<const double> yx, const Placement& placement, std::span<std::uint16_t> codes);

/// The words of a scan's samples as counts; where `keep` is not empty, those of other samples are left out. Returns how
/// many counts were written. Throws std::invalid_argument naming the first word that is no detector code.
std::size_t decode_counts(std::span<const std::uint8_t> words, std::span<const bool> keep, std::span<float> counts);

}  // namespace probewise::open_beam
